package solver_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// remembered makes the world's cache one whose storage answers from memory, and is not of
// this module.
func (w *world) remembered() {
	w.cache = solver.NewCacheManager("local", &storage{CacheKeyStorage: w.storage, memory: true}, w.results)
}

// contract 7: a key matches that all inputs share, whichever else each leads to.
func TestKeptAnswersAreShared(t *testing.T) {
	w := newWorld(t)
	w.remembered()
	s := w.solver()
	n := func(a, b string) *solvertest.Node {
		n := w.node("n"+a+b, w.node(a), w.node(b))
		n.Key = "n"
		return n
	}
	w.build(s, n("a1", "b1").Edge(0))
	w.build(s, n("a2", "b2").Edge(0))
	w.costs("crossed", counts{maps: 3, execs: 1, loads: 2}, func() { w.build(s, n("a1", "b2").Edge(0)) })
	w.costs("crossed again", counts{maps: 3, loads: 1}, func() { w.build(s, n("a1", "b2").Edge(0)) })
	w.costs("as at first", counts{maps: 3, loads: 1}, func() { w.build(s, n("a2", "b2").Edge(0)) })
}

// contract 7: where one input leads to more keys than are kept, none is missed.
func TestMoreAnswersThanKept(t *testing.T) {
	const many = 20
	w := newWorld(t)
	w.remembered()
	s := w.solver()
	n := func(i int) *solvertest.Node {
		n := w.node(fmt.Sprint("n", i), w.node("base"), w.node(fmt.Sprint("other", i)))
		n.Key = "n"
		return n
	}
	for i := range many {
		w.build(s, n(i).Edge(0))
	}
	for i := range many {
		w.costs(fmt.Sprint(i), counts{maps: 3, loads: 1}, func() { w.build(s, n(i).Edge(0)) })
	}
}

// renaming is a manager that saves results under other keys than it is told.
type renaming struct{ foreign }

func (r *renaming) Save(key *solver.CacheKey, res solver.Result) (*solver.ExportableCacheKey, error) {
	saved, err := r.foreign.Save(key, res)
	if err == nil {
		saved.CacheKey = solver.NewCacheKey(digest.FromString("renamed "+key.ID), 0)
	}
	return saved, err
}

// The keys of a result are those that the cache has for it.
func TestCacheNamesKeys(t *testing.T) {
	w := newWorld(t)
	s := w.solver(func(o *solver.SolverOpt) { o.DefaultCache = &renaming{foreign{m: w.cache}} })
	j := w.job(s)
	defer j.Discard()
	r, err := j.Build(context.Background(), w.node("n").Edge(0))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release(context.Background())
	own := solver.NewCacheKey(digest.FromString("op n"), 0)
	if keys := r.CacheKeys(); len(keys) != 1 || keys[0].ID == own.ID || keys[0].Output() != 0 {
		t.Errorf("the keys are %v", keys)
	} else if want := traceOf(t, j, "n").Keys[0]; keys[0].ID == want.ID {
		t.Error("the result has its own key, and not the cache's")
	}
}

// contract 11: an output that is wanted after all cache maps are there, for another
// output, is known by each of them.
func TestLateOutputOfSeveralCacheMaps(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	root := w.node("root")
	root.Keys, root.Outputs, root.Value = []string{"a", "b", "c"}, 2, "v"
	j := w.job(s)
	w.buildIn(j, root.Edge(1))
	w.buildIn(j, root.Edge(0))
	j.Discard()
	for _, key := range root.Keys {
		for output := range 2 {
			n := w.node("by " + key)
			n.Key, n.Outputs, n.Value = key, 2, "v"
			w.costs(fmt.Sprint(key, output), counts{maps: 1, loads: 1}, func() { w.build(s, n.Edge(output)) })
		}
	}
}

// contract 8, 18: an op that waits for a content key which somebody else had begun
// to compute goes on when that one leaves before it was begun.
func TestContentKeyOfWhoLeft(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver(slots(1))
		n := func(x *solvertest.Node) *solvertest.Node {
			n := w.node("n of "+x.ID, x, w.node("y"))
			n.Key, n.Outputs, n.Value = "n", 2, "v"
			n.In[0].Content = true
			return n
		}
		w.build(s, n(w.node("x before")).Edge(0))
		w.pruneAll("v") // y is run, and not loaded

		g, block := newGate(), newGate()
		x := w.node("x")
		x.OnExec = g.exec
		leaves := w.start(w.job(s), n(x).Edge(0)) // may match by the content of x
		<-g.reached
		other := w.start(w.job(s), n(x).Edge(1)) // cannot
		bubbleWait()
		var blocks []*building // nothing else is looked up or computed from now on
		for _, b := range []*building{leaves, other} {
			busy := w.node(fmt.Sprint("busy ", len(blocks)))
			busy.OnCacheMap = func(context.Context, int) error { return block.stuck(context.Background()) }
			blocks = append(blocks, w.start(b.job, busy.Edge(0)))
			bubbleWait()
		}
		g.open()
		bubbleWait()
		leaves.canceled()
		other.wait("v#1")
		block.open()
		for i, b := range blocks {
			b.wait(fmt.Sprintf("busy %d()", i))
		}
		for _, b := range []*building{leaves, other} {
			b.job.Discard()
		}
	})
}
