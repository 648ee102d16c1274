package solvertest

import (
	"fmt"
	"testing"

	"github.com/tenonbuild/tenon/solver"
)

func testRelease(t *testing.T, s solver.CacheKeyStorage) {
	noError(t, s.AddResult("a", someResult("r1")))
	noError(t, s.AddResult("a", someResult("r2")))
	noError(t, s.Release("unknown"))
	noError(t, s.Release("r1"))
	wantNodes(t, s, "a")
	wantResults(t, s, "a", "r2")
	wantHolders(t, s, "r1")
	wantNotFound(t, s, "a", "r1")
	noError(t, s.Release("r1"))
	noError(t, s.Release("r2"))
	wantNodes(t, s)
	wantGone(t, s, "a")
}

func testReleaseChain(t *testing.T, s solver.CacheKeyStorage) {
	const n = 50
	id := func(i int) string { return fmt.Sprint("n", i) }
	for i := range n - 1 {
		noError(t, s.AddLink(id(i), someLink(id(i)), id(i+1)))
	}
	noError(t, s.AddResult(id(n-1), someResult("top")))
	noError(t, s.AddResult(id(20), someResult("middle")))
	noError(t, s.Release("middle"))
	if !s.HasLink(id(0), someLink(id(0)), id(1)) || !s.Exists(id(n-1)) {
		t.Fatal("what leads to a result was removed with another")
	}
	noError(t, s.AddResult(id(20), someResult("middle")))
	noError(t, s.Release("top"))
	wantGone(t, s, id(21), id(22), id(n-1))
	if !s.Exists(id(20)) || !s.HasLink(id(19), someLink(id(19)), id(20)) || s.HasLink(id(20), someLink(id(20)), id(21)) {
		t.Fatal("a chain must end at its last result")
	}
	wantTargets(t, s, id(20), someLink(id(20)))
	noError(t, s.Release("middle"))
	wantNodes(t, s)
}

func testReleaseDiamond(t *testing.T, s solver.CacheKeyStorage) {
	noError(t, s.AddLink("root", someLink("l"), "left"))
	noError(t, s.AddLink("root", someLink("r"), "right"))
	noError(t, s.AddLink("left", someLink("op"), "top"))
	noError(t, s.AddLink("right", someLink("op"), "top"))
	noError(t, s.AddLink("right", someLink("op"), "side"))
	noError(t, s.AddResult("top", someResult("t")))
	noError(t, s.AddResult("side", someResult("s")))
	noError(t, s.Release("t"))
	wantNodes(t, s, "root", "right", "side")
	wantTargets(t, s, "root", someLink("l"))
	wantTargets(t, s, "right", someLink("op"), "side")
	wantBacklinks(t, s, "right", storageLink{"root", someLink("r")})
	noError(t, s.Release("s"))
	wantNodes(t, s)
}

func testReleaseShared(t *testing.T, s solver.CacheKeyStorage) {
	for _, id := range []string{"a", "b", "c"} {
		noError(t, s.AddLink("root", someLink(id), id))
		noError(t, s.AddResult(id, someResult("shared")))
	}
	noError(t, s.AddResult("b", someResult("own")))
	noError(t, s.Release("shared"))
	wantNodes(t, s, "root", "b")
	wantResults(t, s, "b", "own")
	noError(t, s.Release("own"))
	wantNodes(t, s)
}

// testReleaseKeepsEnds: what never had a result is not removed for having none.
func testReleaseKeepsEnds(t *testing.T, s solver.CacheKeyStorage) {
	noError(t, s.AddLink("a", someLink("op"), "end"))
	noError(t, s.AddLink("a", someLink("op"), "b"))
	noError(t, s.AddLink("b", someLink("op"), "c"))
	noError(t, s.AddResult("c", someResult("r")))
	noError(t, s.Release("r"))
	wantNodes(t, s, "a", "end")
	noError(t, s.AddResult("end", someResult("r")))
	noError(t, s.Release("r"))
	wantNodes(t, s)
}

// testReleaseAndAddAgain: what was removed and comes back is new.
func testReleaseAndAddAgain(t *testing.T, s solver.CacheKeyStorage) {
	for range 3 {
		noError(t, s.AddLink("a", someLink("op"), "b"))
		noError(t, s.AddLink("x", someLink("op"), "b"))
		noError(t, s.AddResult("b", someResult("r")))
		noError(t, s.AddResult("b", someResult("q")))
		noError(t, s.Release("r"))
		noError(t, s.AddResult("b", someResult("r")))
		noError(t, s.Release("q"))
		wantResults(t, s, "b", "r")
		noError(t, s.Release("r"))
		wantNodes(t, s)
		noError(t, s.AddResult("b", someResult("p")))
		wantNodes(t, s, "b")
		wantResults(t, s, "b", "p")
		wantBacklinks(t, s, "b")
		wantTargets(t, s, "a", someLink("op"))
		noError(t, s.Release("p"))
		wantNodes(t, s)
	}
}

// testReleaseCycle: equal keys make cycles. What leads to a result stays; nodes
// that lead to nothing but each other may go or stay, links and all.
func testReleaseCycle(t *testing.T, s solver.CacheKeyStorage) {
	for _, l := range [][2]string{{"in", "a"}, {"a", "b"}, {"b", "c"}, {"c", "a"}, {"c", "c"}, {"c", "out"}} {
		noError(t, s.AddLink(l[0], someLink("op"), l[1]))
	}
	noError(t, s.AddResult("b", someResult("r")))
	noError(t, s.AddResult("out", someResult("o")))
	noError(t, s.Release("r"))
	wantNodes(t, s, "in", "a", "b", "c", "out")
	noError(t, s.Release("o"))
	wantGone(t, s, "out")
	wantTargets(t, s, "b", someLink("op"), targetsIfThere(s, "c")...)
	noError(t, checkStorage(s))
	noError(t, s.AddResult("a", someResult("new")))
	noError(t, s.AddLink("c", someLink("op"), "a"))
	noError(t, checkStorage(s))
	wantResults(t, s, "a", "new")
	if !s.HasLink("c", someLink("op"), "a") {
		t.Fatal("a link into a cycle was not added")
	}
}

func targetsIfThere(s solver.CacheKeyStorage, ids ...string) (out []string) {
	for _, id := range ids {
		if s.Exists(id) {
			out = append(out, id)
		}
	}
	return out
}

// checkStorage proves that a storage agrees with itself: each link is found from
// both of its ends, each result from its node and by its ID, and what they lead
// to exists.
func checkStorage(s solver.CacheKeyStorage) error {
	nodes, err := storageNodes(s)
	if err != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, id := range nodes {
		if seen[id] || !s.Exists(id) {
			return fmt.Errorf("Walk visits node %q twice, or it does not exist", id)
		}
		seen[id] = true
	}
	for _, id := range nodes {
		if err := checkNode(s, id, seen); err != nil {
			return fmt.Errorf("node %q: %w", id, err)
		}
	}
	return nil
}

func checkNode(s solver.CacheKeyStorage, id string, nodes map[string]bool) error {
	results, err := storageResults(s, id)
	if err != nil {
		return err
	}
	had := make(map[string]bool)
	for _, res := range results {
		got, err := s.Load(id, res.ID)
		if err != nil || got.ID != res.ID || !got.CreatedAt.Equal(res.CreatedAt) || had[res.ID] {
			return fmt.Errorf("result %v: Load gives %v (%v), or it is there twice", res, got, err)
		}
		had[res.ID] = true
		holders, err := storageHolders(s, res.ID)
		if err != nil || occurrences(holders, id) != 1 {
			return fmt.Errorf("result %q leads to %q (%v)", res.ID, holders, err)
		}
	}
	links, err := storageBacklinks(s, id)
	if err != nil {
		return err
	}
	from := make(map[storageLink]bool)
	for _, bl := range links {
		if from[bl] || !nodes[bl.from] {
			return fmt.Errorf("link %v is there twice, or comes from nowhere", bl)
		}
		from[bl] = true
		targets, err := storageTargets(s, bl.from, bl.link)
		if err != nil || occurrences(targets, id) != 1 || !s.HasLink(bl.from, bl.link, id) {
			return fmt.Errorf("link %v leads to %q (%v)", bl, targets, err)
		}
		for _, target := range targets {
			if !nodes[target] {
				return fmt.Errorf("link %v leads to %q, which does not exist", bl, target)
			}
		}
	}
	return nil
}

func occurrences(list []string, s string) (n int) {
	for _, e := range list {
		if e == s {
			n++
		}
	}
	return n
}
