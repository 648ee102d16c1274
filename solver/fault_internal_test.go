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

// faultyWork stands for a fault of the solver's own.
type faultyWork struct{}

func (faultyWork) do(context.Context) {}
func (faultyWork) done()              { panic("no such luck") }

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
		active := func(i int) *vertex {
			dgst := digest.FromString(fmt.Sprint("v", i))
			return s.active(dgst, hashOf(string(dgst))).normal
		}
		s.mu.Lock()
		s.takeBack(&task{work: faultyWork{}, v: active(0), sharers: &[]*vertex{active(1)}})
		s.unlock(true)
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
