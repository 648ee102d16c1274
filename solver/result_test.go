package solver_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/tenonbuild/tenon/solver"
)

// counted counts its releases.
type counted struct {
	id       string
	released atomic.Int64
}

func (c *counted) ID() string                    { return c.id }
func (c *counted) Sys() any                      { return c }
func (c *counted) Release(context.Context) error { c.released.Add(1); return nil }

// contract 3: a result is released once, when the last holder has gone.
func TestSharedResultIsReleasedOnce(t *testing.T) {
	ctx := context.Background()
	main := &counted{id: "r"}
	shared := solver.NewSharedResult(main)
	a, b := shared.Clone(), shared.Clone()
	if a.ID() != "r" || b.Sys() != any(main) {
		t.Fatal("a clone is something else")
	}
	for range 2 { // also harmless
		_ = shared.Release(ctx)
		_ = a.Release(ctx)
	}
	if main.released.Load() != 0 {
		t.Fatal("released while held")
	}
	_ = b.Release(ctx)
	_ = b.Release(ctx)
	if n := main.released.Load(); n != 1 {
		t.Fatalf("released %d times", n)
	}
	if shared.Clone() != nil {
		t.Fatal("cloned what is gone")
	}
}

func TestSharedResultConcurrently(t *testing.T) {
	ctx := context.Background()
	for range 200 {
		main := &counted{id: "r"}
		shared := solver.NewSharedCachedResult(solver.NewCachedResult(main, nil))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 20 {
					if c := shared.Clone(); c != nil {
						_ = c.Release(ctx)
					}
				}
				_ = shared.Release(ctx)
			})
		}
		wg.Wait()
		if n := main.released.Load(); n != 1 {
			t.Fatalf("released %d times", n)
		}
	}
}

func TestSharedCachedResult(t *testing.T) {
	ctx := context.Background()
	main := &counted{id: "r"}
	keys := []solver.ExportableCacheKey{{CacheKey: solver.NewCacheKey("op", 0)}}
	shared := solver.NewSharedCachedResult(solver.NewCachedResult(main, keys))
	c := shared.Clone()
	if err := shared.Release(ctx); err != nil || main.released.Load() != 0 {
		t.Fatal("released while held")
	}
	if c.ID() != "r" || len(c.CacheKeys()) != 1 || c.CacheKeys()[0].CacheKey != keys[0].CacheKey {
		t.Fatal("a clone is something else")
	}
	if _ = c.Release(ctx); main.released.Load() != 1 {
		t.Fatal("not released")
	}
	if shared.Clone() != nil {
		t.Fatal("cloned what is gone")
	}
}

func TestSharedResultOfNothing(t *testing.T) {
	r := solver.NewSharedResult(nil)
	if c := r.Clone(); c.ID() != "" || c.Sys() != nil || c.Release(context.Background()) != nil {
		t.Fatal("nothing is something")
	}
	if c := solver.NewSharedCachedResult(nil).Clone(); c.ID() != "" || c.CacheKeys() != nil {
		t.Fatal("nothing is something")
	}
	if n := unsafe.Sizeof(solver.SharedResult{}); n > 48 {
		t.Fatalf("a shared result takes %d bytes", n)
	}
}
