package solver_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// copies are steps on each other that each take something of a source, too. What the source
// is called differs from build to build; its content does not.
func (w *world) copies(n int, source string, caches ...solver.CacheManager) solver.Edge {
	src := w.node(source)
	src.Value = "same"
	src.Opts.CacheSources = caches
	node := w.node("base")
	node.Opts.CacheSources = caches
	for i := range n {
		step := w.node(fmt.Sprint("copy", i, " of ", source), node, src)
		step.Key, step.Value = fmt.Sprint("copy", i), fmt.Sprint("copied", i)
		step.In[1].Content = true
		step.Opts.CacheSources = caches
		node = step
	}
	return node.Edge(0)
}

// What was taken from another cache is found without it, also where the definitions of the
// steps that lead there have changed and nobody has loaded these.
func TestTakenIsFoundByContent(t *testing.T) {
	for kind := range wrapped(nil) {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			far := w.source("far")
			far.fill(1, w.copies(4, "first"))
			s := w.solver()
			w.costs("from elsewhere", counts{maps: 6, execs: 1, digests: 4}, func() {
				w.build(s, w.copies(4, "second", wrapped(far.cache)[kind]))
			})
			w.costs("without it", counts{maps: 6, execs: 1, loads: 1, digests: 4}, func() {
				w.build(s, w.copies(4, "third"))
			})
			w.costs("a step more", counts{maps: 7, execs: 2, loads: 1, digests: 5}, func() {
				w.build(s, w.copies(5, "fourth"))
			})
		})
	}
}

// A root that is the default cache's own is neither known to other caches nor exported: what is
// made of it is found there by its content.
func TestLocalRoots(t *testing.T) {
	graph := func(w *world, sources ...solver.CacheManager) solver.Edge {
		root := w.node("root")
		root.Local = true
		top := w.node("top", root)
		top.In[0].Content = true
		top.Opts.CacheSources = sources
		return top.Edge(0)
	}
	for kind := range wrapped(nil) {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			far := w.source("far")
			far.fill(1, graph(w))
			s := w.solver()
			w.costs("elsewhere by content", counts{maps: 2, execs: 1, digests: 1}, func() {
				w.build(s, graph(w, wrapped(far.cache)[kind]))
			})
			w.costs("here by definition", counts{maps: 2, loads: 1}, func() { w.build(s, graph(w)) })
			for range 2 {
				for _, r := range w.export(w.solver(), graph(w), solver.CacheExportModeMax).Records() {
					if strings.HasPrefix(r.Digest.String(), solver.LocalPrefix) {
						t.Error("a local root was exported")
					}
				}
			}
		})
	}
}

// linkCounter counts the links that are written.
type linkCounter struct {
	solver.CacheKeyStorage
	links atomic.Int64
}

func (c *linkCounter) AddLink(id string, link solver.CacheInfoLink, target string) error {
	c.links.Add(1)
	return c.CacheKeyStorage.AddLink(id, link, target)
}

// Many results that are taken over one chain cost the chain once.
func TestTakenIsLinkedOnce(t *testing.T) {
	const tops = 40
	links := map[int]int64{}
	for _, n := range []int{50, 100} {
		w := newWorld(t)
		graph := func(source string, caches ...solver.CacheManager) solver.Edge {
			chain := w.copies(n, source, caches...).Vertex.(*solvertest.Node)
			all := w.node("all of "+source, chain)
			for i := range tops {
				top := w.node(fmt.Sprint("top", i, " of ", source), chain)
				top.Key, top.Opts.CacheSources = fmt.Sprint("top", i), caches
				all.In = append(all.In, solvertest.Input{Node: top})
			}
			return all.Edge(0)
		}
		far := w.source("far")
		far.fill(1, graph("first"))
		counter := &linkCounter{CacheKeyStorage: w.storage}
		w.cache = solver.NewCacheManager("local", counter, w.results)
		w.build(w.solver(), graph("second", far.cache))
		w.executed(map[string]int{"top0 of second": 0})
		links[n] = counter.links.Load()
	}
	if links[100] > 3*links[50] {
		t.Errorf("links that were written: %v", links)
	}
	t.Log(links)
}
