package solver_test

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// aliased is top over an input that has a value, both known by aliases.
func (w *world) aliased(in, value string) *solvertest.Node {
	root := w.node(in)
	root.Value, root.Alias = value, "root"
	top := w.node("top", root)
	top.Key = "top"
	top.In[0].Content, top.In[0].Alias = true, true
	return top
}

// The default cache does not answer to aliases: what they do not tell matters.
func TestAliasesAreNotAnsweredHere(t *testing.T) {
	for _, alias := range []string{"content", "root"} {
		w := newWorld(t)
		s := w.solver()
		graph := func(in, value string) solver.Edge {
			n := w.aliased(in, value)
			n.In[0].Content = alias == "content"
			return n.Edge(0)
		}
		if got := w.build(s, graph("a", "X")); got != "top(X)" {
			t.Error(got)
		}
		if got := w.build(s, graph("b", "x")); got != "top(x)" {
			t.Errorf("by the alias of its %s, another result was found: %s", alias, got)
		}
	}
}

// A cache elsewhere is asked by aliases, and what it has is kept.
func TestAliasesAreAnsweredElsewhere(t *testing.T) {
	top := digest.FromString("op top")
	for name, from := range map[string]*solver.CacheKey{
		"content": solver.NewCacheKey(digest.FromString("content alias x"), -1),
		"root":    solver.NewCacheKey(digest.FromString("op alias root"), 0),
	} {
		for kind := range wrapped(nil) {
			t.Run(name+"/"+kind, func(t *testing.T) {
				w := newWorld(t)
				far := w.source("far")
				found := solvertest.NewResult("found", w.stats)
				res, err := far.results.Save(found)
				check(t, err)
				check(t, found.Release(t.Context()))
				res.CreatedAt = time.Unix(1, 0)
				check(t, far.storage.AddResult("theirs", res))
				check(t, far.storage.AddLink(from.ID, solver.CacheInfoLink{Digest: top}, "theirs"))
				s := w.solver()
				for _, sources := range [][]solver.CacheManager{{wrapped(far.cache)[kind]}, nil} {
					n := w.aliased("a", "X")
					n.Opts.CacheSources = sources
					if got := w.build(s, n.Edge(0)); got != "found" {
						t.Error(got)
					}
				}
				w.executed(map[string]int{"top": 0})
			})
		}
	}
}

// Aliases are exported as if they were keys: of what was run, and of what only the cache
// knows.
func TestAliasesAreExported(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		s := w.solver()
		target := w.export(s, w.aliased("a", "X").Edge(0), solver.CacheExportModeMax)
		from := map[digest.Digest]bool{}
		for _, r := range target.Records() {
			if r.Digest != digest.Digest(solver.NewCacheKey(digest.FromString("op top"), 0).ID) {
				continue
			}
			for _, l := range r.Links {
				from[l.From.Digest] = true
			}
		}
		for name, k := range map[string]*solver.CacheKey{
			"root": solver.NewCacheKey(digest.FromString("op a"), 0), "its alias": solver.NewCacheKey(digest.FromString("op alias root"), 0),
			"content":            solver.NewCacheKey(digest.FromString("content X seen through "), -1),
			"the content's name": solver.NewCacheKey(digest.FromString("content alias x"), -1),
		} {
			if !from[digest.Digest(k.ID)] {
				t.Errorf("there is no link from %s", name)
			}
		}
		if len(from) != 4 {
			t.Errorf("there are %d links", len(from))
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
