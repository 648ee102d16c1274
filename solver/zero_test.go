package solver_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// contract 19, fault 14: zero values, and nil pointers in interfaces, are errors or harmless.
func TestZeroValues(t *testing.T) {
	ctx := context.Background()
	n := &solvertest.Node{ID: "n"}
	t.Run("Save of nothing", func(t *testing.T) {
		m := solver.NewInMemoryCacheManager()
		for _, r := range []solver.Result{nil, (*nilResult)(nil)} {
			if _, err := m.Save(solver.NewCacheKey("sha256:a", 0), r); err == nil {
				t.Errorf("%#v was saved", r)
			}
		}
		if _, err := m.Save(nil, solvertest.NewResult("v", nil)); err == nil {
			t.Error("saved under no key")
		}
		if _, err := m.Save(&solver.CacheKey{}, solvertest.NewResult("v", nil)); err == nil {
			t.Error("saved under an empty key")
		}
		if r, err := m.Load(ctx, nil); err == nil {
			t.Errorf("loaded %v", r)
		}
		if r, err := m.Load(ctx, &solver.CacheRecord{}); err == nil {
			t.Errorf("loaded %v", r)
		}
		if recs, err := m.Records(nil); len(recs) != 0 || err != nil {
			t.Errorf("%v, %v", recs, err)
		}
		if keys, err := m.Query([]solver.CacheKeyWithSelector{{}}, 0, "sha256:a", 0); len(keys) != 0 || err != nil {
			t.Errorf("%v, %v", keys, err)
		}
	})
	t.Run("SharedResult", func(t *testing.T) {
		var zero solver.SharedResult
		if r := zero.Clone(); r != nil {
			t.Errorf("%v", r)
		}
		if err := zero.Release(ctx); err != nil {
			t.Error(err)
		}
		for _, r := range []solver.Result{nil, (*nilResult)(nil)} {
			shared := solver.NewSharedResult(r)
			clone := shared.Clone()
			_, _ = clone.ID(), clone.Sys()
			if err := clone.Release(ctx); err != nil {
				t.Error(err)
			}
			if err := shared.Release(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("SharedCachedResult", func(t *testing.T) {
		var zero solver.SharedCachedResult
		if r := zero.Clone(); r != nil {
			t.Errorf("%v", r)
		}
		if err := zero.Release(ctx); err != nil {
			t.Error(err)
		}
		for _, r := range []solver.CachedResult{nil, (*nilCached)(nil), solver.NewCachedResult(nil, nil), solver.NewCachedResult((*nilResult)(nil), nil)} {
			shared := solver.NewSharedCachedResult(r)
			clone := shared.Clone()
			_, _, _ = clone.ID(), clone.Sys(), clone.CacheKeys()
			if err := clone.Release(ctx); err != nil {
				t.Error(err)
			}
			if err := shared.Release(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("Solver", func(t *testing.T) {
		var zero solver.Solver
		if _, err := zero.NewJob("id"); err == nil {
			t.Error("NewJob: no error")
		}
		if _, err := zero.Get("id"); err == nil {
			t.Error("Get: no error")
		}
		_ = zero.Stats()
		zero.Close()
		zero.Close()
	})
	t.Run("Job", func(t *testing.T) {
		var zero solver.Job
		if _, err := zero.Build(ctx, n.Edge(0)); err == nil {
			t.Error("Build: no error")
		}
		ch := make(chan *client.SolveStatus)
		go func() {
			for range ch {
			}
		}()
		if err := zero.Status(ctx, ch); err == nil {
			t.Error("Status: no error")
		}
		zero.SetValue("k", "v")
		if err := zero.EachValue(ctx, "k", func(any) error { return nil }); err != nil {
			t.Error(err)
		}
		_ = solver.SessionID(zero.Context(ctx))
		p := solver.ProgressFrom(zero.Context(ctx))
		p.Log(1, []byte("line"))
		p.Status(client.VertexStatus{})
		p.Warn(client.VertexWarning{})
		_ = zero.Trace()
		_, end := zero.Begin(ctx, "step")
		end(nil)
		if err := zero.Discard(); err != nil {
			t.Error(err)
		}
	})
}

// nilCached is nil where it is called.
type nilCached struct{ nilResult }

func (*nilCached) CacheKeys() []solver.ExportableCacheKey { panic("called on nil") }

// nilRecords is a manager whose records are nil.
type nilRecords struct{ foreign }

func (*nilRecords) Records(*solver.CacheKey) ([]*solver.CacheRecord, error) {
	return []*solver.CacheRecord{nil}, nil
}

// contract 15, 25, fault 14: a cache that lists a nil record spoils no export.
func TestExportOfNilRecords(t *testing.T) {
	w := newWorld(t)
	s := w.solver(func(o *solver.SolverOpt) { o.DefaultCache = &nilRecords{foreign{m: w.cache}} })
	w.export(s, w.node("top", w.node("in")).Edge(0), solver.CacheExportModeMax)
}

// contract 3, fault 14: Get on a closed solver returns at once, and so does one that waits
// while the solver is closed.
func TestGetOnClosedSolver(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		waiting := make(chan error)
		begin := time.Now()
		go func() {
			_, err := s.Get("never")
			waiting <- err
		}()
		bubbleWait()
		s.Close()
		if err := <-waiting; err == nil {
			t.Error("no error")
		}
		if _, err := s.Get("never"); err == nil {
			t.Error("no error")
		}
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("it waited %v", waited)
		}
	})
}

// named is a result whose ID somebody else chooses.
type named struct {
	solver.Result
	id string
}

func (n named) ID() string { return n.id }

// contract 3, fault 14: two results of one ID that live at the same time: each op gets its
// own input, from its run or from the cache.
func TestTwoResultsOfOneID(t *testing.T) {
	for name, cache := range map[string]func(w *world) solver.CacheManager{
		"in memory": func(*world) solver.CacheManager { return solver.NewInMemoryCacheManager() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.solver(func(o *solver.SolverOpt) { o.DefaultCache = cache(w) })
			in := func(id string) *solvertest.Node {
				n := w.node(id)
				n.Exec = func(context.Context, solver.Builder, []solver.Result) ([]solver.Result, error) {
					return []solver.Result{named{solvertest.NewResult(id, nil), "same"}}, nil
				}
				return n
			}
			keep := w.job(s)
			for i := range 2 {
				for _, id := range []string{"a", "b"} {
					j := w.job(s)
					if got := w.buildIn(j, in(id).Edge(0)); got != id {
						t.Errorf("%s is %q", id, got)
					}
					top := w.node(fmt.Sprint("above ", id, i), in(id))
					if got, want := w.buildIn(j, top.Edge(0)), fmt.Sprint("above ", id, i, "(", id, ")"); got != want {
						t.Errorf("%q, not %q", got, want)
					}
					j.Discard()
					w.buildIn(keep, w.node(fmt.Sprint("kept ", id, i), in(id)).Edge(0))
				}
			}
		})
	}
}

// writes counts what is written to a storage.
func (w *world) writes(o *source) (solver.CacheManager, *int) {
	n := new(int)
	watched := &storage{CacheKeyStorage: o.storage, before: func(method string) error {
		switch method {
		case "AddResult", "Release", "AddLink":
			*n++
		}
		return nil
	}}
	return solver.NewCacheManager("far", watched, o.results), n
}

// contract 14, fault 14: sources are only read: also where a record of theirs does not
// load, or is gone, or leads here by content.
func TestSourcesAreNotWritten(t *testing.T) {
	for _, how := range []string{"loads", "fails", "is gone", "is pruned between", "by content"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t)
			far := w.source("far")
			graph := func(tag string, sources ...solver.CacheManager) solver.Edge {
				src := w.node("src" + tag)
				src.Value = "same"
				top := w.node("top"+tag, src)
				top.Key = "top"
				top.In[0].Content = true
				src.Opts.CacheSources, top.Opts.CacheSources = sources, sources
				return top.Edge(0)
			}
			far.fill(1, graph("1"))
			m, writes := w.writes(far)
			tag := "1"
			switch how {
			case "fails":
				far.results.OnLoad = func(context.Context, string) error { return errBroken }
			case "is gone":
				for _, id := range far.results.IDs() {
					far.results.Prune(id)
				}
			case "is pruned between":
				far.results.OnLoad = func(_ context.Context, id string) error {
					far.results.Prune(id)
					return nil
				}
			case "by content":
				tag = "2"
			}
			if got := w.build(w.solver(), graph(tag, m)); got != "top(same)" {
				t.Error(got)
			}
			if *writes != 0 {
				t.Errorf("%d writes", *writes)
			}
		})
	}
}
