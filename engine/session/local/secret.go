package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	csvvalue "github.com/tonistiigi/go-csvvalue"

	"github.com/tenonbuild/tenon/internal/stream"
)

// MaxSecret is how many bytes a secret may have: as many as BuildKit allows.
const MaxSecret = 500 * 1024

// Secret says where a secret comes from: the first that is set of Value, Env and
// File. If none is, it is the environment variable called ID if there is one, and
// else the file called ID.
type Secret struct {
	ID    string
	Value []byte
	Env   string
	File  string
}

// ParseSecret reads the value of a --secret flag, as docker build takes it:
// id=ID[,src=FILE|,env=NAME][,type=file|env]. It touches no file.
func ParseSecret(s string) (Secret, error) {
	fields, err := csvvalue.Fields(s, nil)
	if err != nil {
		return Secret{}, secretError(s, "it is not comma-separated: "+err.Error())
	}
	var out Secret
	var typ string
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		if !ok {
			return Secret{}, secretError(s, fmt.Sprintf("%q is not KEY=VALUE", field))
		}
		var to *string
		switch strings.ToLower(key) {
		case "id":
			to = &out.ID
		case "src", "source":
			to = &out.File
		case "env":
			to = &out.Env
		case "type":
			to = &typ
			if value != "file" && value != "env" {
				return Secret{}, secretError(s, fmt.Sprintf("the type %q is neither file nor env", value))
			}
		default:
			return Secret{}, secretError(s, fmt.Sprintf("it knows no %q", key))
		}
		if *to != "" {
			return Secret{}, secretError(s, key+" is given twice")
		}
		if value == "" {
			return Secret{}, secretError(s, key+" has no value")
		}
		*to = value
	}
	return out.complete(s, typ)
}

// complete applies a type to what was given.
func (s Secret) complete(flag, typ string) (Secret, error) {
	switch {
	case s.ID == "":
		return Secret{}, secretError(flag, "the id is missing")
	case s.Env != "" && s.File != "":
		return Secret{}, secretError(flag, "it has both a file and an environment variable")
	case typ == "file" && s.Env != "":
		return Secret{}, secretError(flag, "type=file does not go with env")
	case typ == "env" && s.Env == "":
		// docker takes src as the variable's name here.
		s.Env, s.File = s.File, ""
		if s.Env == "" {
			s.Env = s.ID
		}
	case typ == "file" && s.File == "":
		s.File = s.ID
	}
	return s, nil
}

func secretError(flag, why string) error {
	return fmt.Errorf("secret %q: %s; write id=ID,src=FILE or id=ID,env=NAME", flag, why)
}

func (s Secret) read(ctx context.Context) ([]byte, error) {
	dt, err := s.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", s.ID, err)
	}
	if len(dt) > MaxSecret {
		return nil, fmt.Errorf("secret %q: it is larger than %d KiB: mount a directory instead", s.ID, MaxSecret/1024)
	}
	return dt, nil
}

func (s Secret) open(ctx context.Context) ([]byte, error) {
	if s.ID == "" {
		return nil, errors.New("the id is missing")
	}
	if s.Value != nil {
		return s.Value, nil
	}
	if s.Env != "" {
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return nil, fmt.Errorf("the environment variable %s is not set", s.Env)
		}
		return []byte(v), nil
	}
	if s.File != "" {
		return readSome(ctx, s.File)
	}
	if v, ok := os.LookupEnv(s.ID); ok {
		return []byte(v), nil
	}
	dt, err := readSome(ctx, s.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is neither an environment variable nor a file of this name: give src=FILE or env=NAME: %w", err)
	}
	return dt, err
}

// readSome reads a file that may be a pipe, up to what is too much for a secret.
func readSome(ctx context.Context, path string) (_ []byte, err error) {
	f, err := stream.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, MaxSecret+1))
}
