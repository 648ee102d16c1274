package solver_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// This file is what the examples share: a vertex, an op, a result and a result
// storage, as an embedder would write them.

// command is a vertex: a named function over the texts of its inputs.
type command struct {
	name   string
	run    func(ctx context.Context, b solver.Builder, in []string) (string, error)
	inputs []*command
	// byContent gives every input a content key: the digest of its text.
	byContent bool
	options   solver.VertexOptions
}

// echo is a command that has no inputs and returns its own name.
func echo(name string) *command {
	return &command{name: name, run: func(context.Context, solver.Builder, []string) (string, error) {
		fmt.Println("run:", name)
		return name, nil
	}}
}

// join is a command that puts the texts of its inputs in brackets.
func join(name string, inputs ...*command) *command {
	return &command{name: name, inputs: inputs, run: func(_ context.Context, _ solver.Builder, in []string) (string, error) {
		fmt.Println("run:", name)
		return fmt.Sprint(name, in), nil
	}}
}

// Digest covers what the command does and all that is below it. A command is
// known by its name here; a real one has arguments and an environment.
func (c *command) Digest() digest.Digest {
	id := "vertex " + c.name
	for _, in := range c.inputs {
		id += " " + in.Digest().String()
	}
	return digest.FromString(id)
}

func (c *command) Sys() interface{}              { return c }
func (c *command) Options() solver.VertexOptions { return c.options }
func (c *command) Name() string                  { return c.name }

func (c *command) Inputs() []solver.Edge {
	edges := make([]solver.Edge, len(c.inputs))
	for i, in := range c.inputs {
		edges[i] = solver.Edge{Vertex: in} // output 0
	}
	return edges
}

// resolve is the ResolveOpFunc: it finds the op of a vertex.
func resolve(v solver.Vertex, b solver.Builder) (solver.Op, error) {
	c, ok := v.Sys().(*command)
	if !ok {
		return nil, fmt.Errorf("cannot run a %T", v.Sys())
	}
	return &commandOp{command: c, builder: b}, nil
}

// commandOp is the op of a command.
type commandOp struct {
	command *command
	builder solver.Builder
}

// CacheMap says what the definition key is made of: the digest stands for the
// command alone. The solver adds the keys of the inputs.
func (o *commandOp) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	m := &solver.CacheMap{Digest: digest.FromString("command " + o.command.name)}
	for range o.command.inputs {
		m.Deps = append(m.Deps, struct {
			Selector          digest.Digest
			ComputeDigestFunc solver.ResultBasedCacheFunc
		}{})
	}
	if o.command.byContent {
		for i := range m.Deps {
			m.Deps[i].ComputeDigestFunc = contentOf
		}
	}
	return m, true, nil // true: there is no further cache map
}

// contentOf is the content key of a text.
func contentOf(_ context.Context, r solver.Result) (digest.Digest, error) {
	return digest.FromString(textOf(r)), nil
}

// Exec borrows the inputs, and hands its outputs over.
func (o *commandOp) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	in := make([]string, len(inputs))
	for i, r := range inputs {
		in[i] = textOf(r)
	}
	out, err := o.command.run(ctx, o.builder, in)
	if err != nil {
		return nil, err
	}
	return []solver.Result{text(out)}, nil
}

// text is a result. It needs no releasing; a file or a mount would.
type text string

func (t text) ID() string                    { return digest.FromString(string(t)).Encoded() }
func (t text) Sys() interface{}              { return string(t) }
func (t text) Release(context.Context) error { return nil }

func textOf(r solver.Result) string { return r.Sys().(string) }

// textFiles is a CacheResultStorage that keeps each text in a file of a folder.
type textFiles string

func (dir textFiles) path(id string) string { return filepath.Join(string(dir), id) }

// Save makes the file whole before it can be found.
func (dir textFiles) Save(r solver.Result) (solver.CacheResult, error) {
	res := solver.CacheResult{ID: r.ID(), CreatedAt: time.Now()}
	f, err := os.CreateTemp(string(dir), "new-")
	if err != nil {
		return res, err
	}
	_, err = f.WriteString(textOf(r))
	if err := errors.Join(err, f.Close()); err != nil {
		return res, errors.Join(err, os.Remove(f.Name()))
	}
	return res, os.Rename(f.Name(), dir.path(res.ID))
}

func (dir textFiles) Load(_ context.Context, res solver.CacheResult) (solver.Result, error) {
	data, err := os.ReadFile(dir.path(res.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, solver.ErrNotFound // the solver runs the op instead
	}
	return text(data), err
}

// LoadRemote says that nothing is transferable as it is.
func (dir textFiles) LoadRemote(context.Context, solver.CacheResult) (*solver.Remote, error) {
	return nil, nil
}

func (dir textFiles) Exists(id string) bool {
	_, err := os.Stat(dir.path(id))
	return err == nil
}

// build builds a command in a job of its own.
func build(s *solver.Solver, c *command) string {
	job, err := s.NewJob("build " + c.name)
	if err != nil {
		log.Fatal(err)
	}
	defer job.Discard()
	return buildIn(job, c)
}

// buildIn builds a command in a job.
func buildIn(job *solver.Job, c *command) string {
	ctx := context.Background()
	r, err := job.Build(ctx, solver.Edge{Vertex: c})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Release(ctx)
	return textOf(r)
}
