package solver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// transfer is the transferable form of a value.
func transfer(value string) *solver.Remote {
	return &solver.Remote{Descriptors: []ocispec.Descriptor{{Digest: digest.FromString(value), Annotations: map[string]string{"value": value}}}}
}

func convert(_ context.Context, r solver.Result) (*solver.Remote, error) {
	return transfer(solvertest.Value(r)), nil
}

// export builds an edge and exports the cache of all its keys.
func (w *world) export(s *solver.Solver, e solver.Edge, mode solver.CacheExportMode) *solvertest.ExportTarget {
	w.t.Helper()
	j := w.job(s)
	defer j.Discard()
	r, err := j.Build(context.Background(), e)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Release(context.Background())
	target := &solvertest.ExportTarget{}
	if len(r.CacheKeys()) == 0 {
		w.t.Fatal("the result has no keys")
	}
	for _, k := range r.CacheKeys() {
		recs, err := k.Exporter.ExportTo(context.Background(), target, solver.CacheExportOpt{Mode: mode, Convert: convert})
		if err != nil {
			w.t.Fatal(err)
		}
		if len(recs) == 0 {
			w.t.Error("an export gave no record")
		}
	}
	return target
}

// exported are the values that were exported, sorted.
func exported(target *solvertest.ExportTarget) []string {
	var out []string
	for _, r := range target.Records() {
		for _, res := range r.Results {
			out = append(out, res.Remote.Descriptors[0].Annotations["value"])
		}
	}
	slices.Sort(out)
	return out
}

// imported returns a world that has nothing but what was exported, as a source.
func (w *world) imported(target *solvertest.ExportTarget) (fresh *world, source solver.CacheManager) {
	fresh = newWorld(w.t)
	return fresh, target.Manager("imported", func(r *solver.Remote) solver.Result {
		return solvertest.NewResult(r.Descriptors[0].Annotations["value"], fresh.stats)
	})
}

// contract 25: what each mode exports, with results that are transferable as they
// are, and vertices that override it.
func TestExportScenarios(t *testing.T) {
	yes, no := true, false
	const (
		leaf = "leaf()"
		mid  = "mid(leaf())"
		top  = "top(mid(leaf()),side(root()))"
		side = "side(root())"
	)
	for _, c := range []struct {
		name      string
		mode      solver.CacheExportMode
		remote    []string // transferable as they are
		topExport *bool
		midExport *bool
		pruned    []string
		want      []string
	}{
		{name: "min", mode: solver.CacheExportModeMin, want: []string{top}},
		{name: "max", mode: solver.CacheExportModeMax, want: []string{mid, side, top}},
		{name: "remote only", mode: solver.CacheExportModeRemoteOnly},
		{name: "min, mid transferable", mode: solver.CacheExportModeMin, remote: []string{mid}, want: []string{mid, top}},
		{name: "remote only, mid transferable", mode: solver.CacheExportModeRemoteOnly, remote: []string{mid}, want: []string{mid}},
		{name: "a root is never exported", mode: solver.CacheExportModeMax, remote: []string{leaf}, want: []string{mid, side, top}},
		{name: "min, top is not to be", mode: solver.CacheExportModeMin, topExport: &no, want: []string{mid, side}},
		{name: "max, mid is not to be", mode: solver.CacheExportModeMax, midExport: &no, want: []string{side, top}},
		{name: "min, mid is to be", mode: solver.CacheExportModeMin, midExport: &yes, want: []string{mid, top}},
		{name: "remote only, mid is not to be", mode: solver.CacheExportModeRemoteOnly, remote: []string{mid, side}, midExport: &no, want: []string{side}},
		{name: "max, records are gone", mode: solver.CacheExportModeMax, pruned: []string{mid}, want: []string{side, top}},
		{name: "min, top is gone", mode: solver.CacheExportModeMin, pruned: []string{top}, want: []string{mid, side}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.results.Remote = func(value string) *solver.Remote {
				if slices.Contains(c.remote, value) {
					return transfer(value)
				}
				return nil
			}
			s := w.solver()
			graph := func() solver.Edge {
				n := w.node("top", w.node("mid", w.node("leaf")), w.node("side", w.node("root")))
				n.Opts.ExportCache, n.In[0].Node.Opts.ExportCache = c.topExport, c.midExport
				return n.Edge(0)
			}
			j := w.job(s)
			r, err := j.Build(context.Background(), graph())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Release(context.Background())
			var keep []string
			for _, v := range []string{leaf, mid, side, top, "root()"} {
				if !slices.Contains(c.pruned, v) {
					keep = append(keep, v)
				}
			}
			w.pruneAll(keep...)
			target := &solvertest.ExportTarget{}
			for _, k := range r.CacheKeys() {
				if _, err := k.Exporter.ExportTo(context.Background(), target, solver.CacheExportOpt{Mode: c.mode, Convert: convert}); err != nil {
					t.Fatal(err)
				}
			}
			if got := exported(target); !slices.Equal(got, c.want) {
				t.Errorf("exported %q, not %q", got, c.want)
			}
			if n := len(target.Records()); n != 5 {
				t.Errorf("%d records, not one a key", n)
			}
		})
	}
}

// roundTrip is a graph with what makes keys differ: selectors, content keys, outputs.
func roundTrip(w *world, tag string, sources ...solver.CacheManager) *solvertest.Node {
	src := w.node("src" + tag)
	src.Value = "same"
	part := w.node("part"+tag, src, w.node("side"))
	part.Key, part.Outputs = "part", 3
	part.In[0].Content, part.In[0].Selector, part.In[1].Selector = true, "file", "dir"
	top := w.node("top" + tag)
	top.Key = "top"
	top.In = []solvertest.Input{{Node: part, Output: 2, Selector: "x"}, {Node: part, Output: 2, Selector: "y"}, {Node: part}}
	for _, n := range []*solvertest.Node{src, part, part.In[1].Node, top} {
		n.Opts.CacheSources = sources
	}
	return top
}

// contract 25, 14: a cache that is exported and imported elsewhere is as good as
// the one it came from.
func TestExportRoundTrip(t *testing.T) {
	for name, mode := range map[string]solver.CacheExportMode{"min": solver.CacheExportModeMin, "max": solver.CacheExportModeMax} {
		for _, from := range []string{"executed", "from cache"} {
			t.Run(name+"/"+from, func(t *testing.T) {
				w := newWorld(t)
				s := w.solver()
				want := w.build(s, roundTrip(w, "1").Edge(0))
				if from == "executed" {
					w = newWorld(t)
					s = w.solver()
				}
				target := w.export(s, roundTrip(w, "1").Edge(0), mode)
				fresh, imported := w.imported(target)
				s = fresh.solver()
				fresh.costs("the same", counts{maps: 4}, func() {
					if got := fresh.build(s, roundTrip(fresh, "1", imported).Edge(0)); got != want {
						t.Error(got)
					}
				})
				fresh.costs("in the default cache", counts{maps: 4, loads: 1}, func() { fresh.build(s, roundTrip(fresh, "1").Edge(0)) })

				fresh, imported = w.imported(target)
				s = fresh.solver()
				got := fresh.during(func() { fresh.build(s, roundTrip(fresh, "2", imported).Edge(0)) })
				if got.execs != 1 || got.digests != 1 {
					t.Errorf("by content: %+v", got)
				}
				// What is below of the top is there in one mode only.
				fresh, imported = w.imported(target)
				s = fresh.solver()
				fresh.build(s, roundTrip(fresh, "1", imported).In[0].Node.Edge(0))
				if n := fresh.stats.Executed("part1"); (n == 0) != (mode == solver.CacheExportModeMax) {
					t.Errorf("part was run %d times", n)
				}
			})
		}
	}
}

// contract 25: all keys that lead to a record are exported: those by content and
// those by definition, of all that were found equal, with selectors.
func TestExportAllKeys(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	graph := func(tag string) solver.Edge {
		src := w.node("src" + tag)
		src.Value = "same"
		n := w.node("n"+tag, src)
		n.Key, n.In[0].Content, n.In[0].Selector = "n", true, "sel"
		return n.Edge(0)
	}
	for _, tag := range []string{"1", "2", "3"} {
		w.build(s, graph(tag))
	}
	target := w.export(s, graph("2"), solver.CacheExportModeMax)
	root := func(op string) digest.Digest {
		return digest.Digest(solver.NewCacheKey(digest.FromString("op "+op), 0).ID)
	}
	content := digest.Digest(solver.NewCacheKey(digest.FromString("content same seen through sel"), -1).ID)
	sel := digest.FromString("selector sel").String()
	var links []string
	for _, r := range target.Records() {
		if r.Digest != root("n") {
			continue
		}
		for _, l := range r.Links {
			links = append(links, fmt.Sprint(l.From.Digest, l.Index, l.Selector))
		}
	}
	want := []string{fmt.Sprint(content, 0, "")}
	for _, tag := range []string{"1", "2", "3"} {
		want = append(want, fmt.Sprint(root("src"+tag), 0, sel))
	}
	slices.Sort(links)
	slices.Sort(want)
	if !slices.Equal(links, want) {
		t.Errorf("links:\n%s\nnot:\n%s", strings.Join(links, "\n"), strings.Join(want, "\n"))
	}
	// So each of them is found where it is imported.
	for _, tag := range []string{"1", "3"} {
		fresh, imported := w.imported(target)
		n := fresh.node("n"+tag, fresh.node("src"+tag))
		n.Key, n.In[0].Content, n.In[0].Selector = "n", true, "sel"
		n.Opts.CacheSources = []solver.CacheManager{imported}
		fresh.costs("imported "+tag, counts{maps: 2}, func() { fresh.build(fresh.solver(), n.Edge(0)) })
	}
}

// contract 25: a root with several cache maps is exported by all of them.
func TestExportSeveralCacheMaps(t *testing.T) {
	w := newWorld(t)
	graph := func(w *world, sources []solver.CacheManager, keys ...string) solver.Edge {
		root := w.node("root")
		root.Keys, root.Value = keys, "v"
		n := w.node("n", root)
		n.Opts.CacheSources, root.Opts.CacheSources = sources, sources
		return n.Edge(0)
	}
	target := w.export(w.solver(), graph(w, nil, "a", "b"), solver.CacheExportModeMax)
	for _, key := range []string{"a", "b"} {
		fresh, imported := w.imported(target)
		fresh.costs("by "+key, counts{maps: 2}, func() { fresh.build(fresh.solver(), graph(fresh, []solver.CacheManager{imported}, key)) })
	}
}

// contract 4, 25: what an op has built is exported with the vertex's result.
func TestExportSubBuilds(t *testing.T) {
	w := newWorld(t)
	outer := func(w *world, sources ...solver.CacheManager) *solvertest.Node {
		inner := w.node("inner", w.node("in", w.node("root")))
		n := w.building("outer", inner, w.building("nested", w.node("innermost", w.node("root"))))
		n.Opts.CacheSources = sources
		return n
	}
	target := w.export(w.solver(), outer(w).Edge(0), solver.CacheExportModeMax)
	got := exported(target)
	for _, want := range []string{"inner(in(root()))", "in(root())", "innermost(root())"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not exported, but %q", want, got)
		}
	}
	// Outer is a root, so it is run again. What it builds is found.
	fresh, imported := w.imported(target)
	fresh.build(fresh.solver(), outer(fresh, imported).Edge(0))
	fresh.executed(map[string]int{"outer": 1, "nested": 1, "inner": 0, "in": 0, "innermost": 0, "root": 0})
}

// contract 25: of a vertex that shared another's execution the chain is its own.
func TestExportShared(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		graph := func(id string) solver.Edge {
			src := w.node("src" + id)
			src.Value = "same"
			n := w.equal("n", id, src)
			n.In[0].Content, n.OnExec = true, g.exec
			return n.Edge(0)
		}
		first := w.start(w.job(s), graph("a"))
		<-g.reached
		j := w.job(s)
		done := make(chan *solvertest.ExportTarget)
		go func() {
			r, err := j.Build(context.Background(), graph("b"))
			if err != nil {
				t.Error(err)
				return
			}
			target := &solvertest.ExportTarget{}
			for _, k := range r.CacheKeys() {
				if _, err := k.Exporter.ExportTo(context.Background(), target, solver.CacheExportOpt{Mode: solver.CacheExportModeMax, Convert: convert}); err != nil {
					t.Error(err)
				}
			}
			r.Release(context.Background())
			done <- target
		}()
		bubbleWait()
		first.job.Discard()
		g.open()
		target := <-done
		if got := exported(target); !slices.Equal(got, []string{"n(same)"}) {
			t.Errorf("exported %q", got)
		}
		fresh, imported := w.imported(target)
		n := fresh.equal("n", "b", fresh.node("srcb"))
		n.In[0].Content = true
		n.Opts.CacheSources = []solver.CacheManager{imported}
		fresh.costs("imported", counts{maps: 2}, func() { fresh.build(fresh.solver(), n.Edge(0)) })
	})
}

// contract 25: Convert is called at most once a result, and its error is the
// export's, at any depth.
func TestExportConvert(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	r, err := w.job(s).Build(context.Background(), roundTrip(w, "1").Edge(0))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release(context.Background())
	calls := map[string]int{}
	var mu sync.Mutex
	opt := solver.CacheExportOpt{Mode: solver.CacheExportModeMax, Convert: func(ctx context.Context, r solver.Result) (*solver.Remote, error) {
		mu.Lock()
		defer mu.Unlock()
		calls[r.ID()]++
		return convert(ctx, r)
	}}
	target := &solvertest.ExportTarget{}
	for range 3 {
		for _, k := range r.CacheKeys() {
			if _, err := k.Exporter.ExportTo(context.Background(), target, opt); err != nil {
				t.Fatal(err)
			}
		}
	}
	for id, n := range calls {
		if n != 1 {
			t.Errorf("%s was converted %d times", id, n)
		}
	}
	if len(calls) != 3 {
		t.Errorf("%d results were converted, not two outputs of part and one of top", len(calls))
	}
	opt.Convert = func(ctx context.Context, r solver.Result) (*solver.Remote, error) {
		if strings.HasPrefix(solvertest.Value(r), "part") {
			return nil, errBroken
		}
		return convert(ctx, r)
	}
	if _, err := r.CacheKeys()[0].Exporter.ExportTo(context.Background(), &solvertest.ExportTarget{}, opt); !errors.Is(err, errBroken) {
		t.Errorf("the error of a branch: %v", err)
	}
}

// contract 26: exports of one result may run at the same time, to one target and
// to several.
func TestExportsAtOnce(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	r, err := w.job(s).Build(context.Background(), roundTrip(w, "1").Edge(0))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release(context.Background())
	var all sync.WaitGroup
	shared := &solvertest.ExportTarget{}
	var ends atomic.Int64
	for i := range 16 {
		all.Go(func() {
			target := shared
			if i%2 == 0 {
				target = &solvertest.ExportTarget{}
			}
			for _, k := range r.CacheKeys() {
				if _, err := k.Exporter.ExportTo(context.Background(), target, solver.CacheExportOpt{Mode: solver.CacheExportModeMax, Convert: convert}); err != nil {
					t.Error(err)
				}
			}
			if got := exported(target); len(got) != 3 {
				t.Errorf("exported %q", got)
			}
			ends.Add(1)
		})
	}
	all.Wait()
	if ends.Load() != 16 {
		t.Errorf("%d ended", ends.Load())
	}
}

// contract 26: equal keys make the graph of keys cyclic; the export ends, and its
// work is linear.
func TestExportCyclicKeys(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	const steps = 300
	graph := func(tag string) solver.Edge {
		n := w.node("src" + tag)
		n.Value = "same"
		for i := range steps {
			n = w.equal("noop", fmt.Sprint(i, tag), n)
			n.Value, n.In[0].Content = "same", true
		}
		return n.Edge(0)
	}
	w.build(s, graph("a"))
	for _, mode := range []solver.CacheExportMode{solver.CacheExportModeMin, solver.CacheExportModeMax, solver.CacheExportModeRemoteOnly} {
		target := w.export(s, graph("b"), mode)
		links := 0
		for _, r := range target.Records() {
			links += len(r.Links)
		}
		if n := len(target.Records()); n > 3*steps || links > 6*steps {
			t.Errorf("mode %d: %d records and %d links for %d steps", mode, n, links, steps)
		}
	}
}
