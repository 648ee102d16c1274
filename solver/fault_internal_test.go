package solver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/opencontainers/go-digest"
)

// stuckVertex is a vertex, and its op, which runs until it is cancelled.
type stuckVertex struct{ name string }

func (v *stuckVertex) Digest() digest.Digest  { return digest.FromString(v.name) }
func (v *stuckVertex) Sys() interface{}       { return v }
func (v *stuckVertex) Options() VertexOptions { return VertexOptions{} }
func (v *stuckVertex) Inputs() []Edge         { return nil }
func (v *stuckVertex) Name() string           { return v.name }

func (v *stuckVertex) CacheMap(context.Context, int) (*CacheMap, bool, error) {
	return &CacheMap{Digest: v.Digest()}, true, nil
}

func (v *stuckVertex) Exec(ctx context.Context, _ []Result) ([]Result, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// faultyCall stands for a fault of the solver's own.
type faultyCall struct {
	task
	waiting []*vertex
}

func (c *faultyCall) do(context.Context) {}
func (c *faultyCall) done()              { panic("no such luck") }
func (c *faultyCall) vertices(fn func(*vertex)) {
	for _, v := range c.waiting {
		fn(v)
	}
}

// TestFaultFailsWhoWaits: a fault in taking a task back fails the builds of all
// vertices that the task was for, and leaves no other waiting or failed.
func TestFaultFailsWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSolver(SolverOpt{ResolveOpFunc: func(v Vertex, _ Builder) (Op, error) { return v.(*stuckVertex), nil }})
		errs := make([]error, 3)
		for i := range errs {
			j, err := s.NewJob(fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				_, errs[i] = j.Build(t.Context(), Edge{Vertex: &stuckVertex{fmt.Sprint("v", i)}})
			}()
		}
		synctest.Wait()
		active := func(i int) *vertex { return s.activeVertex(digest.FromString(fmt.Sprint("v", i))) }
		s.lock()
		c := &faultyCall{waiting: []*vertex{active(0), active(1)}}
		c.Work, c.v = c, active(0)
		s.g.Pin(c.v.id)
		s.takeBack(&c.task)
		s.unlock()
		synctest.Wait()
		for i, err := range errs {
			if faulty := err != nil && strings.Contains(err.Error(), "no such luck"); faulty != (i < 2) {
				t.Errorf("build %d: %v", i, err)
			}
		}
		s.Close()
		synctest.Wait()
		if errs[2] == nil {
			t.Error("a build outlives Close")
		}
	})
}
