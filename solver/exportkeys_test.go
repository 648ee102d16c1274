package solver_test

import (
	"context"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// exportFirst exports a result through its first key only, as embedders do.
func (w *world) exportFirst(r solver.CachedResult) *solvertest.ExportTarget {
	w.t.Helper()
	target := &solvertest.ExportTarget{}
	_, err := r.CacheKeys()[0].Exporter.ExportTo(context.Background(), target, solver.CacheExportOpt{Mode: solver.CacheExportModeMax, Convert: convert})
	if err != nil {
		w.t.Fatal(err)
	}
	return target
}

// wrapped are a manager as it is, and one that only hands calls on.
func wrapped(m solver.CacheManager) map[string]solver.CacheManager {
	return map[string]solver.CacheManager{"own": m, "wrapped": &foreign{m: m}}
}

// contract 4, 25, fault 10: what an op below the top has built is exported with the top.
func TestExportSubBuildsBelow(t *testing.T) {
	for _, shape := range []string{"one below", "two below", "nested", "shared", "equal", "by content"} {
		t.Run(shape, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				inner := func(w *world) *solvertest.Node { return w.node("inner", w.node("root")) }
				graph := func(w *world, tag string, sources ...solver.CacheManager) *solvertest.Node {
					mid := w.building("mid"+tag, inner(w))
					mid.Key = "mid"
					if shape == "nested" {
						mid = w.building("outer", mid)
					}
					for _, n := range []*solvertest.Node{mid} {
						n.Opts.CacheSources = sources
					}
					top := w.node("top", mid)
					if shape == "two below" {
						top = w.node("upper", top)
					}
					top.In[0].Content = shape == "by content"
					top.Opts.CacheSources = sources
					return top
				}
				j := w.job(s)
				tag := ""
				switch shape {
				case "shared", "equal":
					w.buildIn(j, graph(w, "").In[0].Node.Edge(0))
					if shape == "equal" {
						tag = "-equal"
					}
				case "by content":
					w.buildIn(j, graph(w, "").Edge(0))
				}
				r, err := w.job(s).Build(context.Background(), graph(w, tag).Edge(0))
				if err != nil {
					t.Fatal(err)
				}
				target := w.exportFirst(r)
				r.Release(context.Background())
				if got := exported(target); !slices.Contains(got, "inner(root())") {
					t.Errorf("what mid has built is not exported, but %q", got)
				}
				fresh, imported := w.imported(target)
				again := inner(fresh)
				again.Opts.CacheSources = []solver.CacheManager{imported}
				again.In[0].Node.Opts = again.Opts
				fresh.costs("inner", counts{maps: 2}, func() { fresh.build(fresh.solver(), again.Edge(0)) })
			})
		})
	}
}

// contract 25, fault 13: through any one of its keys, all records of a root with several
// cache maps are exported, whether it was run, loaded or shared, and whoever wraps the cache.
func TestExportThroughOneKey(t *testing.T) {
	for _, how := range []string{"run", "loaded", "live", "shared"} {
		for _, kind := range []string{"own", "wrapped"} {
			t.Run(how+"/"+kind, func(t *testing.T) {
				bubble(t, func(w *world) {
					s := w.solver(func(o *solver.SolverOpt) { o.DefaultCache = wrapped(w.cache)[kind] })
					keys := []string{"a", "b", "c"}
					g := newGate()
					graph := func(w *world, tag string) *solvertest.Node {
						root := w.node("root" + tag)
						root.Keys, root.Value, root.OnExec = keys, "v", g.exec
						return w.node("top"+tag, root)
					}
					j := w.job(s)
					tag := ""
					switch how {
					case "run":
						g.open()
					case "loaded":
						g.open()
						w.build(s, graph(w, "").Edge(0))
					case "live":
						g.open()
						w.buildIn(w.job(s), graph(w, "").Edge(0))
					case "shared":
						w.start(w.job(s), graph(w, "-other").Edge(0))
						<-g.reached
						defer func(j *solver.Job) { j.Discard() }(j)
					}
					n := graph(w, tag)
					edges := []solver.Edge{n.In[0].Node.Edge(0), n.Edge(0)}
					if how == "loaded" {
						edges = edges[1:] // a root that is loaded was only asked for its first key
					}
					if how == "shared" {
						b := w.start(j, edges[0])
						bubbleWait()
						g.open()
						b.wait("v")
					}
					for _, e := range edges {
						r, err := j.Build(context.Background(), e)
						if err != nil {
							t.Fatal(err)
						}
						for i := range r.CacheKeys() {
							target := &solvertest.ExportTarget{}
							_, err := r.CacheKeys()[i].Exporter.ExportTo(context.Background(), target, solver.CacheExportOpt{Mode: solver.CacheExportModeMax, Convert: convert})
							if err != nil {
								t.Fatal(err)
							}
							for _, key := range keys {
								want := solver.NewCacheKey(digest.FromString("op "+key), 0)
								if !slices.ContainsFunc(target.Records(), func(r *solvertest.ExportedRecord) bool { return string(r.Digest) == want.ID }) {
									t.Errorf("%s, key %d: the record of %s is not exported", e.Vertex.Name(), i, key)
								}
							}
						}
						r.Release(context.Background())
					}
				})
			})
		}
	}
}

// contract 25, fault 13: a result that was loaded keeps its keys by content in an export,
// also where the cache manager only wraps ours.
func TestExportLoadedKeysByContent(t *testing.T) {
	for _, kind := range []string{"own", "wrapped"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			s := w.solver(func(o *solver.SolverOpt) { o.DefaultCache = wrapped(w.cache)[kind] })
			graph := func(w *world, tag string, sources ...solver.CacheManager) *solvertest.Node {
				src := w.node("src" + tag)
				src.Value = "same"
				mid := w.node("mid"+tag, src)
				mid.Key, mid.In[0].Content = "mid", true
				top := w.node("top"+tag, mid)
				top.Key = "top"
				for _, n := range []*solvertest.Node{src, mid, top} {
					n.Opts.CacheSources = sources
				}
				return top
			}
			w.build(s, graph(w, "1").Edge(0))
			j := w.job(s)
			defer j.Discard()
			var r solver.CachedResult
			w.costs("loaded", counts{maps: 3, loads: 1}, func() {
				var err error
				if r, err = j.Build(context.Background(), graph(w, "1").Edge(0)); err != nil {
					t.Fatal(err)
				}
			})
			target := w.exportFirst(r)
			r.Release(context.Background())
			fresh, imported := w.imported(target)
			fresh.build(fresh.solver(), graph(fresh, "2", imported).Edge(0))
			fresh.executed(map[string]int{"src2": 1, "mid2": 0, "top2": 0})
		})
	}
}
