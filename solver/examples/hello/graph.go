package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// step is a solver.Vertex, and the solver.Op that runs it: a function of texts.
type step struct {
	name      string
	run       func(in []string) string
	byContent bool // the inputs have content keys
	inputs    []solver.Edge
	key       digest.Digest // of what it does, without its inputs
	digest    digest.Digest // of what it does and all that is below it
}

// newStep computes both digests, once. what is all that the result depends on beside the
// inputs; it must change with the code of run, too.
func newStep(name, what string, byContent bool, run func(in []string) string, inputs ...*step) *step {
	s := &step{name: name, run: run, byContent: byContent, key: digest.FromString(what)}
	id := what
	for _, in := range inputs {
		s.inputs = append(s.inputs, solver.Edge{Vertex: in})
		id += " " + string(in.digest)
	}
	s.digest = digest.FromString(id)
	return s
}

func source(name, data string) *step {
	return newStep("read "+name, "read "+data, false, func([]string) string { return data })
}

var comments = regexp.MustCompile("(?m)^#.*\n")

// strip takes comments away.
func strip(name string, src *step) *step {
	return newStep("strip "+name, "strip", false, func(in []string) string {
		return comments.ReplaceAllString(in[0], "")
	}, src)
}

// compile knows its input by content: if "strip" makes the same of another source, there is
// nothing to compile.
func compile(name string, src *step) *step {
	return newStep("compile "+name, "compile", true, func(in []string) string {
		return fmt.Sprintf("%.4x %s", sha256.Sum256([]byte(in[0])), strings.ToUpper(in[0]))
	}, src)
}

func link(objects ...*step) *step {
	return newStep("link program", "link", false, func(in []string) string { return strings.Join(in, "") }, objects...)
}

func (s *step) Digest() digest.Digest         { return s.digest }
func (s *step) Sys() interface{}              { return s }
func (s *step) Options() solver.VertexOptions { return solver.VertexOptions{} }
func (s *step) Inputs() []solver.Edge         { return s.inputs }
func (s *step) Name() string                  { return s.name }

func (s *step) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	m := solver.NewCacheMap(s.key, len(s.inputs))
	for i := range m.Deps {
		if s.byContent {
			m.Deps[i].ComputeDigestFunc = func(_ context.Context, r solver.Result) (digest.Digest, error) {
				return digest.FromString(textOf(r)), nil
			}
		}
	}
	return m, true, nil
}

func (s *step) Exec(_ context.Context, inputs []solver.Result) ([]solver.Result, error) {
	in := make([]string, len(inputs))
	for i, r := range inputs {
		in[i] = textOf(r)
	}
	return []solver.Result{text(s.run(in))}, nil
}

// text is a solver.Result: plain data, that needs no releasing. Equal IDs have equal values.
type text string

func (t text) ID() string                    { return digest.FromString(string(t)).Encoded() }
func (t text) Sys() interface{}              { return string(t) }
func (t text) Release(context.Context) error { return nil }

func textOf(r solver.Result) string { return r.Sys().(string) }
