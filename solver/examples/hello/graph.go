package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// vertex is a solver.Vertex: one step, with the steps it needs.
type vertex struct {
	kind, arg string
	inputs    []*vertex
	// byContent gives the inputs content keys.
	byContent bool
	// key is read when the step is looked up: what the result depends on beside
	// the inputs. It must change with the code of run, too.
	key func() (string, error)
	run func(in []string) (string, error)
}

// read reads a file. Its key is what is in the file.
func read(path string) *vertex {
	load := func() (string, error) {
		data, err := os.ReadFile(path)
		return string(data), err
	}
	return &vertex{kind: "read", arg: path, key: load, run: func([]string) (string, error) { return load() }}
}

// strip takes comments away.
func strip(src *vertex) *vertex {
	return &vertex{kind: "strip", arg: src.arg, inputs: []*vertex{src}, run: func(in []string) (string, error) {
		var out strings.Builder
		for line := range strings.Lines(in[0]) {
			if !strings.HasPrefix(line, "#") {
				out.WriteString(line)
			}
		}
		return out.String(), nil
	}}
}

// compile makes an object of a text. It knows its input by content: if "strip"
// makes the same of another source, there is nothing to compile.
func compile(src *vertex) *vertex {
	return &vertex{kind: "compile", arg: src.arg, inputs: []*vertex{src}, byContent: true, run: func(in []string) (string, error) {
		return fmt.Sprintf("%.4x %s", sha256.Sum256([]byte(in[0])), strings.ToUpper(in[0])), nil
	}}
}

// link puts objects together.
func link(objects ...*vertex) *vertex {
	return &vertex{kind: "link", arg: "program", inputs: objects, run: func(in []string) (string, error) {
		return strings.Join(in, ""), nil
	}}
}

// Digest covers the step, and all that it needs.
func (v *vertex) Digest() digest.Digest {
	id := v.kind + "\x00" + v.arg
	for _, in := range v.inputs {
		id += "\x00" + in.Digest().String()
	}
	return digest.FromString(id)
}

func (v *vertex) Sys() interface{}              { return v }
func (v *vertex) Options() solver.VertexOptions { return solver.VertexOptions{} }
func (v *vertex) Name() string                  { return v.kind + " " + filepath.Base(v.arg) }

func (v *vertex) Inputs() []solver.Edge {
	edges := make([]solver.Edge, len(v.inputs))
	for i, in := range v.inputs {
		edges[i] = solver.Edge{Vertex: in}
	}
	return edges
}

// resolve is the solver.ResolveOpFunc.
func resolve(v solver.Vertex, _ solver.Builder) (solver.Op, error) {
	return op{v.Sys().(*vertex)}, nil
}

// op is the solver.Op of a vertex.
type op struct{ v *vertex }

func (o op) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	key := ""
	if o.v.key != nil {
		var err error
		if key, err = o.v.key(); err != nil {
			return nil, false, err
		}
	}
	m := &solver.CacheMap{Digest: digest.FromString(o.v.kind + "\x00" + key)}
	for range o.v.inputs {
		m.Deps = append(m.Deps, struct {
			Selector          digest.Digest
			ComputeDigestFunc solver.ResultBasedCacheFunc
		}{})
		if o.v.byContent {
			m.Deps[len(m.Deps)-1].ComputeDigestFunc = contentOf
		}
	}
	return m, true, nil
}

func contentOf(_ context.Context, r solver.Result) (digest.Digest, error) {
	return digest.FromString(textOf(r)), nil
}

func (o op) Exec(_ context.Context, inputs []solver.Result) ([]solver.Result, error) {
	in := make([]string, len(inputs))
	for i, r := range inputs {
		in[i] = textOf(r)
	}
	out, err := o.v.run(in)
	if err != nil {
		return nil, err
	}
	return []solver.Result{text(out)}, nil
}
