package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tonistiigi/go-csvvalue"
)

// Output is a value of -o/--output, taken apart.
type Output struct {
	Type  string
	Attrs map[string]string
	// Dest is the file or directory to write, "-" for standard output, "" if none was
	// named.
	Dest string
	// Umask is that of the Request.
	Umask os.FileMode
}

// ParseOutput reads a value of -o/--output as buildx and buildctl do: "type=T,k=v"
// as one line of CSV; a path alone is type=local; "-" alone is type=tar to standard
// output; type=registry is type=image,push=true,store=false. Attributes of built-in types are
// checked; those of other types are left to whoever registered them.
func ParseOutput(s string) (Output, error) {
	if strings.TrimSpace(s) == "" {
		return Output{}, errors.New("the output is empty: say type=TYPE, or a directory to write to")
	}
	fields, err := csvvalue.Fields(s, nil)
	if err != nil {
		return Output{}, fmt.Errorf("output %q is not a line of CSV: %w", s, err)
	}
	if len(fields) == 1 && fields[0] == s && !strings.HasPrefix(s, "type=") {
		if s == "-" {
			return Output{Type: TypeTar, Attrs: map[string]string{}, Dest: "-"}, nil
		}
		return Output{Type: TypeLocal, Attrs: map[string]string{}, Dest: s}, nil
	}
	out := Output{Attrs: map[string]string{}}
	seen := map[string]bool{}
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		key = outputKey(key)
		if !ok || key == "" {
			return Output{}, fmt.Errorf("output %q: %q is not of the form key=value", s, field)
		}
		if seen[key] {
			return Output{}, fmt.Errorf("output %q: %q is given twice", s, key)
		}
		seen[key] = true
		switch key {
		case "type":
			out.Type = value
		case "dest":
			out.Dest = value
		default:
			out.Attrs[key] = value
		}
	}
	if err := out.settle(seen["dest"]); err != nil {
		return Output{}, fmt.Errorf("output %q: %w", s, err)
	}
	return out, nil
}

// outputKey is a key in its usual form. They are lower case but for the names of
// annotations, which are the user's.
func outputKey(key string) string {
	what, name, dotted := strings.Cut(strings.TrimSpace(key), ".")
	what = strings.ToLower(what)
	if !dotted {
		return what
	}
	if !strings.HasPrefix(what, "annotation") {
		name = strings.ToLower(name)
	}
	return what + "." + name
}

// settle resolves the type and checks what goes with what.
func (o *Output) settle(destGiven bool) error {
	if o.Type == "registry" {
		if _, ok := o.Attrs["push"]; !ok {
			o.Attrs["push"] = "true"
			if _, ok := o.Attrs["store"]; !ok {
				o.Attrs["store"] = "false"
			}
		}
		o.Type = TypeImage
	}
	if destGiven && o.Dest == "" {
		return errors.New("dest= is empty: name a file or directory, or - for standard output")
	}
	switch o.Type {
	case "":
		return errors.New("type= is missing: say type=local, tar, oci, docker, image, registry or cacheonly")
	case TypeImage, TypeCacheOnly:
		if o.Dest != "" {
			return fmt.Errorf("dest= goes with type=local, tar, oci and docker, not with type=%s", o.Type)
		}
	case TypeLocal:
		if o.Dest == "" {
			return errors.New("type=local needs dest=DIRECTORY")
		}
		if o.Dest == "-" {
			return errors.New("dest=- is standard output, which takes an archive: say type=tar")
		}
	}
	return checkAttrs(o.Type, o.Attrs)
}

// Directory says whether Dest is a directory rather than a file.
func (o Output) Directory() bool {
	if o.Type == TypeLocal {
		return true
	}
	v, ok := o.Attrs["tar"]
	isTar, err := strconv.ParseBool(v)
	return ok && err == nil && !isTar
}

// Request makes the request of it. Files are written by File; no Dest, and "-",
// write to stdout, which stays open. An exporter that is not built in gets Dest as
// both, and takes what it writes.
func (o Output) Request(stdout io.Writer) (Request, error) {
	req := Request{Type: o.Type, Attrs: o.Attrs, Umask: o.Umask}
	switch o.Type {
	case TypeImage, TypeCacheOnly:
		return req, nil
	case TypeLocal, TypeTar, TypeOCI, TypeDocker:
		if o.Directory() {
			req.Dir = o.Dest
			return req, o.checkDir()
		}
		if err := o.checkFile(); err != nil {
			return Request{}, err
		}
	default:
		req.Dir = o.Dest
	}
	if o.Dest == "" || o.Dest == "-" {
		req.Open = func(context.Context, map[string]string) (io.WriteCloser, error) { return open{stdout}, nil }
	} else {
		req.Open = File(o.Dest, o.Umask)
	}
	return req, nil
}

func (o Output) checkDir() error {
	if o.Dest == "" || o.Dest == "-" {
		return fmt.Errorf("output type=%s,tar=false needs dest=DIRECTORY", o.Type)
	}
	if fi, err := os.Stat(o.Dest); err == nil && !fi.IsDir() {
		return fmt.Errorf("output type=%s writes a directory, but %s is a file", o.Type, o.Dest)
	}
	return nil
}

func (o Output) checkFile() error {
	if o.Dest == "" || o.Dest == "-" {
		return nil
	}
	dir := filepath.Dir(o.Dest)
	if fi, err := os.Stat(dir); err != nil {
		return fmt.Errorf("output type=%s,dest=%s: the folder for it: %w", o.Type, o.Dest, err)
	} else if !fi.IsDir() {
		return fmt.Errorf("output type=%s,dest=%s: %s is not a folder", o.Type, o.Dest, dir)
	}
	if fi, err := os.Stat(o.Dest); err != nil || !fi.IsDir() {
		return nil
	}
	hint := ""
	if o.Type == TypeOCI {
		hint = ", or add tar=false for a directory"
	}
	return fmt.Errorf("output type=%s writes a file, but %s is a directory: name a file in it%s", o.Type, o.Dest, hint)
}

// open is a writer that whoever gave it closes.
type open struct{ io.Writer }

func (open) Close() error { return nil }
