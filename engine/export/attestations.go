package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/continuity/fs"
	intoto "github.com/in-toto/in-toto-golang/in_toto"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/result"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/regular"
)

// Attestation says something about a result, as an in-toto statement. What it says comes
// from a function, or is a file in a tree, which is borrowed; or it is a bundle, and a
// directory of the tree has statements.
type Attestation struct {
	result.Attestation[*store.Ref]
	// Of is such a function, too. It gets the layers that the result is written as, which
	// are none in a directory.
	Of func(layers []ocispec.Descriptor) ([]byte, error)
}

// maxAttestation is how many bytes an attestation, or a bundle of them, may have.
const maxAttestation = 80 << 20

// provenance is what statements about how something was built are of.
const provenance = "https://slsa.dev/provenance/"

// statement is an attestation that has been read.
type statement struct {
	name string // of its file
	Attestation
	predicate []byte
}

// document is an in-toto statement as it is written.
type document struct {
	Type          string          `json:"_type"`
	PredicateType string          `json:"predicateType"`
	Subject       []subject       `json:"subject"`
	Predicate     json.RawMessage `json:"predicate"`
}

// subject is what a statement is about.
type subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// wanted are the attestations that go to an output. Some are for images alone, which
// have a place for them that is in nobody's way.
func wanted(all []Attestation, inline bool) []Attestation {
	return slices.DeleteFunc(slices.Clone(all), func(a Attestation) bool {
		return !inline && string(a.Metadata[result.AttestationInlineOnlyKey]) == "true"
	})
}

// readAttestations reads attestations, and those that are in bundles, about a result that
// is written as layers.
func readAttestations(ctx context.Context, all []Attestation, layers []ocispec.Descriptor) ([]statement, error) {
	read := make([][]statement, len(all))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(parallel)
	for i, a := range all {
		eg.Go(func() (err error) {
			read[i], err = readAttestation(ctx, a, layers)
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, err
	}
	out := slices.Concat(read...)
	// What a scanner says of the image itself comes before what it says of other stages.
	slices.SortStableFunc(out, func(a, b statement) int { return order(a) - order(b) })
	return out, nil
}

func order(s statement) int {
	if s.ofCore() {
		return 0
	}
	return 1
}

// ofCore says whether a statement is the SBOM of the image itself.
func (s statement) ofCore() bool {
	core, has := s.Metadata[result.AttestationSBOMCore]
	name, _, _ := strings.Cut(path.Base(s.name), ".")
	return has && name == string(core)
}

func readAttestation(ctx context.Context, a Attestation, layers []ocispec.Descriptor) (_ []statement, err error) {
	about := func(err error) error { return fmt.Errorf("attestation %q: %w", a.Path, err) }
	if a.Of != nil {
		a.ContentFunc = func(context.Context) ([]byte, error) { return a.Of(layers) }
	}
	if a.ContentFunc != nil {
		if a.Kind != gwpb.AttestationKind_InToto || a.Path == "" {
			return nil, about(errors.New("it has a function, and is a bundle or has no name"))
		}
		dt, err := a.ContentFunc(ctx)
		if err != nil {
			return nil, err
		}
		return []statement{{a.Path, a, dt}}, nil
	}
	if a.Ref == nil {
		return nil, about(errors.New("nothing has what it says"))
	}
	dir, unmount, err := store.MountLocal(ctx, a.Ref, true)
	if err != nil {
		return nil, about(err)
	}
	defer func() { err = errors.Join(err, unmount()) }()
	var out []statement
	switch a.Kind {
	case gwpb.AttestationKind_Bundle:
		out, err = readBundle(dir, a)
	case gwpb.AttestationKind_InToto:
		var dt []byte
		dt, err = readIn(dir, a.Path, maxAttestation)
		out = []statement{{a.Path, a, dt}}
	default:
		err = fmt.Errorf("its kind %v is not known", a.Kind)
	}
	if err != nil {
		return nil, about(err)
	}
	for _, s := range out {
		if strings.HasPrefix(s.InToto.PredicateType, provenance) {
			return nil, about(fmt.Errorf("a frontend may not say how it was built (%s)", s.InToto.PredicateType))
		}
	}
	return out, nil
}

// readIn reads a file of a tree, or a link to one, and names it in errors.
func readIn(dir, name string, limit int64) ([]byte, error) {
	p, err := fs.RootPath(dir, name)
	if err != nil {
		return nil, err
	}
	dt, err := regular.Read(p, limit)
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		pe.Path = name
	}
	return dt, err
}

// readBundle reads the statements in a directory of a tree.
func readBundle(dir string, a Attestation) (out []statement, err error) {
	p, err := fs.RootPath(dir, a.Path)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(p)
	if err != nil {
		return nil, &os.PathError{Op: "readdir", Path: a.Path, Err: errors.Unwrap(err)}
	}
	left := int64(maxAttestation)
	for _, e := range entries {
		name := path.Join(a.Path, e.Name())
		dt, err := readIn(dir, filepath.Join("/", a.Path, e.Name()), left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(dt))
		s, err := parseStatement(dt, a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s.name = name
		out = append(out, s)
	}
	return out, nil
}

// parseStatement reads a statement of a bundle.
func parseStatement(dt []byte, of Attestation) (statement, error) {
	var st document
	dec := json.NewDecoder(bytes.NewReader(dt))
	if err := dec.Decode(&st); err != nil {
		return statement{}, fmt.Errorf("not an in-toto statement: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return statement{}, errors.New("there is more than one in-toto statement")
	}
	if want := of.InToto.PredicateType; want != "" && st.PredicateType != want {
		return statement{}, fmt.Errorf("the statement is about %s, and the bundle about %s", st.PredicateType, want)
	}
	of.Kind = gwpb.AttestationKind_InToto
	of.InToto = result.InTotoAttestation{PredicateType: st.PredicateType}
	for _, s := range st.Subject {
		of.InToto.Subjects = append(of.InToto.Subjects, result.InTotoSubject{
			Kind: gwpb.InTotoSubjectKind_Raw, Name: s.Name, Digest: result.FromDigestMap(s.Digest),
		})
	}
	return statement{Attestation: of, predicate: st.Predicate}, nil
}

// about is the statement as it is written: about its subjects, or about those that an
// output has for what is built.
func (s statement) about(built []subject) (*document, error) {
	subjects := s.InToto.Subjects
	if len(subjects) == 0 {
		subjects = []result.InTotoSubject{{Kind: gwpb.InTotoSubjectKind_Self}}
	}
	out := &document{Type: intoto.StatementInTotoV1, PredicateType: s.InToto.PredicateType, Subject: []subject{}}
	if len(s.predicate) > 0 {
		out.Predicate = s.predicate
	}
	for _, sub := range subjects {
		name := sub.Name
		switch sub.Kind {
		case gwpb.InTotoSubjectKind_Self:
			for _, b := range built {
				out.Subject = append(out.Subject, b)
				if name != "" && name != "_" {
					out.Subject = append(out.Subject, subject{Name: name, Digest: b.Digest})
				}
			}
		case gwpb.InTotoSubjectKind_Raw:
			if name == "" {
				name = "_"
			}
			for _, d := range sub.Digest {
				if !strings.Contains(string(d), ":") {
					return nil, fmt.Errorf("attestation %q: its subject %q has %q for a digest", s.name, name, d)
				}
			}
			out.Subject = append(out.Subject, subject{Name: name, Digest: result.ToDigestMap(sub.Digest...)})
		default:
			return nil, fmt.Errorf("attestation %q: its subject %q is of a kind that is not known (%v)", s.name, name, sub.Kind)
		}
	}
	return out, nil
}
