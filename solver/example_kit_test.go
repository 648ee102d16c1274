package solver_test

import (
	"context"
	"fmt"
	"log"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// This file is what the examples share: a vertex, an op and a result, as an
// embedder would write them.

// command is a vertex: a named function over the texts of its inputs.
type command struct {
	name   string
	run    func(ctx context.Context, b solver.Builder, in []string) (string, error)
	inputs []*command
	digest digest.Digest
	// byContent gives every input a content key: the digest of its text.
	byContent bool
	options   solver.VertexOptions
}

// newCommand makes the digest, of what the command does and of all that is below it. It
// makes it once, of the digests of the inputs: in a graph whose vertices share inputs there
// are more ways down than anybody can go. A command is known by its name here; a real one
// has arguments and an environment.
func newCommand(name string, run func(context.Context, solver.Builder, []string) (string, error), inputs ...*command) *command {
	id := "vertex " + name
	for _, in := range inputs {
		id += " " + in.digest.String()
	}
	return &command{name: name, run: run, inputs: inputs, digest: digest.FromString(id)}
}

// echo is a command that has no inputs and returns its own name.
func echo(name string) *command {
	return newCommand(name, func(context.Context, solver.Builder, []string) (string, error) {
		fmt.Println("run:", name)
		return name, nil
	})
}

// join is a command that puts the texts of its inputs in brackets.
func join(name string, inputs ...*command) *command {
	return newCommand(name, func(_ context.Context, _ solver.Builder, in []string) (string, error) {
		fmt.Println("run:", name)
		return fmt.Sprint(name, in), nil
	}, inputs...)
}

func (c *command) Digest() digest.Digest         { return c.digest }
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
	m := solver.NewCacheMap(digest.FromString("command "+o.command.name), len(o.command.inputs))
	for i := range m.Deps {
		if o.command.byContent {
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

// text is a result. It needs no releasing; a file or a mount would. Its ID is made of its
// value: texts of one ID are equal.
type text string

func (t text) ID() string                    { return digest.FromString(string(t)).Encoded() }
func (t text) Sys() interface{}              { return string(t) }
func (t text) Release(context.Context) error { return nil }

func textOf(r solver.Result) string { return r.Sys().(string) }

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
