package solver_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/solver"
)

// shelf is a CacheResultStorage: it turns texts into names, and back.
type shelf struct {
	mu    sync.Mutex // guards texts
	texts map[string]string
}

// Save borrows the result: what is kept is not the result, but what it stands for.
func (s *shelf) Save(r solver.Result) (solver.CacheResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts[r.ID()] = textOf(r)
	return solver.CacheResult{ID: r.ID(), CreatedAt: time.Now()}, nil
}

// Load returns a new result, which the solver releases once.
func (s *shelf) Load(_ context.Context, res solver.CacheResult) (solver.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.texts[res.ID]
	if !ok {
		return nil, solver.ErrNotFound // the solver runs the op instead
	}
	return text(value), nil
}

// LoadRemote says that nothing is transferable as it is.
func (s *shelf) LoadRemote(_ context.Context, res solver.CacheResult) (*solver.Remote, error) {
	if !s.Exists(res.ID) {
		return nil, solver.ErrNotFound
	}
	return nil, nil
}

func (s *shelf) Exists(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.texts[id]
	return ok
}

// A result storage of one's own. What it has may vanish at any time. Package filestore has
// one on files.
func ExampleCacheResultStorage() {
	results := &shelf{texts: map[string]string{}}
	s := solver.NewSolver(solver.SolverOpt{
		ResolveOpFunc: resolve,
		DefaultCache:  solver.NewCacheManager("local", solver.NewInMemoryCacheStorage(), results),
	})
	defer s.Close()
	fmt.Println(build(s, join("compile", echo("src"))))
	fmt.Println("kept:", len(results.texts))
	clear(results.texts)
	fmt.Println(build(s, join("compile", echo("src"))))

	// Output:
	// run: src
	// run: compile
	// compile[src]
	// kept: 2
	// run: src
	// run: compile
	// compile[src]
}

// mount is a result that has to be released.
type mount struct{ text }

func (m mount) Release(context.Context) error {
	fmt.Println("released:", m.text)
	return nil
}

// A result that several hold is released with its last holder.
func ExampleSharedResult() {
	ctx := context.Background()
	shared := solver.NewSharedResult(mount{"tree"}) // the first holder
	a, b := shared.Clone(), shared.Clone()
	shared.Release(ctx)
	a.Release(ctx)
	a.Release(ctx) // does nothing
	fmt.Println("still there:", b.Sys())
	b.Release(ctx)
	fmt.Println(shared.Clone())

	// Output:
	// still there: tree
	// released: tree
	// <nil>
}

// mountOp makes a mount.
type mountOp struct{ solver.Op }

func (mountOp) Exec(context.Context, []solver.Result) ([]solver.Result, error) {
	return []solver.Result{mount{"tree"}}, nil
}

// checkOp passes on its input.
type checkOp struct{ solver.Op }

func (checkOp) Exec(_ context.Context, inputs []solver.Result) ([]solver.Result, error) {
	if textOf(inputs[0]) == "" {
		return nil, errors.New("there is nothing in it")
	}
	return inputs, nil // neither copied nor cloned
}

// An op may return its input. The output is a hold of its own: it stays good when the
// input's vertex has gone, and what it stands for is released once, after the last holder.
func ExampleOp_passThrough() {
	ctx := context.Background()
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: func(v solver.Vertex, b solver.Builder) (solver.Op, error) {
		op, err := resolve(v, b)
		if v.Name() == "check" {
			return checkOp{op}, err
		}
		return mountOp{op}, err
	}})
	defer s.Close()
	job, err := s.NewJob("passing on")
	if err != nil {
		log.Fatal(err)
	}
	r, err := job.Build(ctx, solver.Edge{Vertex: join("check", echo("src"))})
	if err != nil {
		log.Fatal(err)
	}
	job.Discard()
	fmt.Println("checked:", r.Sys())
	r.Release(ctx)

	// Output:
	// checked: tree
	// released: tree
}
