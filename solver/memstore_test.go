package solver_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// modelLink is a link of the storage's model.
type modelLink struct {
	from string
	link solver.CacheInfoLink
	to   string
}

// model is what a storage should hold, in the plainest form.
type model struct {
	results map[string][]string // of each node, in order
	links   []modelLink
}

func (m *model) add(id string) {
	if _, ok := m.results[id]; !ok {
		m.results[id] = nil
	}
}

func (m *model) addLink(l modelLink) {
	m.add(l.from)
	m.add(l.to)
	if !slices.Contains(m.links, l) {
		m.links = append(m.links, l)
	}
}

func (m *model) leavesFrom(id string) bool {
	return slices.ContainsFunc(m.links, func(l modelLink) bool { return l.from == id })
}

// reach returns the nodes that can be reached from a node, and whether nothing
// keeps them: no result, and no node that simply ends there.
func (m *model) reach(id string) (region map[string]bool, dead bool) {
	region, dead = map[string]bool{id: true}, true
	for again := true; again; {
		again = false
		for _, l := range m.links {
			if region[l.from] && !region[l.to] {
				region[l.to], again = true, true
			}
		}
	}
	for r := range region {
		if len(m.results[r]) > 0 || !m.leavesFrom(r) {
			dead = false
		}
	}
	return region, dead
}

func (m *model) release(result string) {
	touched := map[string]bool{}
	for id, list := range m.results {
		if i := slices.Index(list, result); i >= 0 {
			m.results[id] = slices.Delete(slices.Clone(list), i, i+1)
			touched[id] = true
		}
	}
	for again := true; again; {
		again = false
		for id := range touched {
			if _, ok := m.results[id]; !ok || len(m.results[id]) > 0 {
				continue
			}
			region, dead := map[string]bool{id: true}, true
			if m.leavesFrom(id) {
				region, dead = m.reach(id)
			}
			if !dead {
				continue
			}
			again = true
			for r := range region {
				delete(m.results, r)
			}
			m.links = slices.DeleteFunc(m.links, func(l modelLink) bool {
				if region[l.to] {
					touched[l.from] = true
				}
				return region[l.to]
			})
		}
	}
}

func (m *model) check(t *testing.T, s solver.CacheKeyStorage) {
	t.Helper()
	var nodes []string
	_ = s.Walk(func(id string) error { nodes = append(nodes, id); return nil })
	slices.Sort(nodes)
	if want := slices.Sorted(maps.Keys(m.results)); !slices.Equal(nodes, want) {
		t.Fatalf("nodes %v, want %v", nodes, want)
	}
	back := map[modelLink]int{}
	byGroup := map[modelLink][]string{}
	for _, l := range m.links {
		if !s.HasLink(l.from, l.link, l.to) {
			t.Fatalf("link %v is missing", l)
		}
		g := modelLink{from: l.from, link: l.link}
		byGroup[g] = append(byGroup[g], l.to)
	}
	for g, want := range byGroup {
		var got []string
		_ = s.WalkLinks(g.from, g.link, func(id string) error { got = append(got, id); return nil })
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("targets of %v: %v, want %v", g, got, want)
		}
	}
	for id, want := range m.results {
		var got []string
		_ = s.WalkResults(id, func(r solver.CacheResult) error { got = append(got, r.ID); return nil })
		slices.Reverse(got)
		if !slices.Equal(got, want) {
			t.Fatalf("results of %s: %v, want %v", id, got, want)
		}
		_ = s.WalkBacklinks(id, func(from string, l solver.CacheInfoLink) error { back[modelLink{from, l, id}]++; return nil })
	}
	if len(back) != len(m.links) {
		t.Fatalf("%d backlinks, want %d", len(back), len(m.links))
	}
	for l, n := range back {
		if n != 1 || !slices.Contains(m.links, l) {
			t.Fatalf("backlink %v: %d times", l, n)
		}
	}
}

// contract 21: the storage does what its model does, whatever is asked of it.
func TestMemoryStorageAgainstModel(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		nodes, infos := 3+rnd.IntN(30), 1+rnd.IntN(12)
		s, m := solver.NewInMemoryCacheStorage(), &model{results: map[string][]string{}}
		node := func() string { return fmt.Sprint("n", rnd.IntN(nodes)) }
		for range 150 {
			result := fmt.Sprint("r", rnd.IntN(8))
			switch rnd.IntN(10) {
			case 0:
				_ = s.Release(result)
				m.release(result)
			case 1, 2:
				id := node()
				_ = s.AddResult(id, solver.CacheResult{ID: result})
				if m.add(id); !slices.Contains(m.results[id], result) {
					m.results[id] = append(m.results[id], result)
				}
			default:
				l := modelLink{from: node(), to: node(), link: solver.CacheInfoLink{Input: solver.Index(rnd.IntN(infos)), Digest: "op"}}
				_ = s.AddLink(l.from, l.link, l.to)
				m.addLink(l)
			}
		}
		m.check(t, s)
		for r := range 8 {
			_ = s.Release(fmt.Sprint("r", r))
			m.release(fmt.Sprint("r", r))
			m.check(t, s)
		}
	}
}

// contract 21: what leads nowhere goes, also in a chain of a million and where
// keys lead to themselves or round in a circle.
func TestMemoryStorageReleaseCascades(t *testing.T) {
	count := func(s solver.CacheKeyStorage) (n int) {
		_ = s.Walk(func(string) error { n++; return nil })
		return n
	}
	t.Run("chain", func(t *testing.T) {
		const n = 1_000_000
		s := solver.NewInMemoryCacheStorage()
		keys := ids(n)
		for i := range n - 1 {
			addLink(s, keys[i], "op", "", keys[i+1])
		}
		_ = s.AddResult(keys[n-1], solver.CacheResult{ID: "r"})
		if err := s.Release("r"); err != nil || count(s) != 0 {
			t.Fatalf("%d left, %v", count(s), err)
		}
	})
	t.Run("self", func(t *testing.T) {
		s := solver.NewInMemoryCacheStorage()
		_ = s.AddResult("a", solver.CacheResult{ID: "r"})
		addLink(s, "a", "op", "", "a")
		addLink(s, "b", "op", "", "a")
		if _ = s.Release("r"); count(s) != 0 {
			t.Fatal("something is left")
		}
	})
	t.Run("ring", func(t *testing.T) {
		const n = 10_000
		s := solver.NewInMemoryCacheStorage()
		keys := ids(n)
		for i := range n {
			_ = s.AddResult(keys[i], solver.CacheResult{ID: keys[i]})
			addLink(s, keys[i], "op", "", keys[(i+1)%n])
		}
		for i := range n {
			if !s.Exists(keys[0]) {
				t.Fatalf("gone after %d of %d", i, n)
			}
			_ = s.Release(keys[i])
		}
		if count(s) != 0 {
			t.Fatalf("%d left", count(s))
		}
	})
	t.Run("from the top", func(t *testing.T) {
		// The result at the very top keeps everything: each release looks up a
		// chain that grows, and must not walk it.
		const n = 50_000
		s := solver.NewInMemoryCacheStorage()
		keys := ids(n)
		for i := range n {
			_ = s.AddResult(keys[i], solver.CacheResult{ID: keys[i]})
			if i > 0 {
				addLink(s, keys[i-1], "op", "", keys[i])
			}
		}
		start := time.Now()
		for i := n - 2; i >= 0; i-- {
			_ = s.Release(keys[i])
		}
		if count(s) != n || time.Since(start) > time.Minute {
			t.Fatalf("%d left after %v", count(s), time.Since(start))
		}
		if _ = s.Release(keys[n-1]); count(s) != 0 {
			t.Fatalf("%d left", count(s))
		}
	})
}

// contract 21: nodes with 100,000 links of any kind are as quick as others.
func TestMemoryStorageHubs(t *testing.T) {
	const n = 100_000
	keys, hub := ids(n), "hub"
	shapes := map[string]func(i int) modelLink{
		"operations": func(i int) modelLink {
			return modelLink{hub, solver.CacheInfoLink{Digest: digest.Digest(keys[i])}, keys[i]}
		},
		"targets":    func(i int) modelLink { return modelLink{hub, solver.CacheInfoLink{Digest: "op"}, keys[i]} },
		"backlinks":  func(i int) modelLink { return modelLink{keys[i], solver.CacheInfoLink{Digest: "op"}, hub} },
		"one target": func(i int) modelLink { return modelLink{"src", solver.CacheInfoLink{Input: solver.Index(i)}, hub} },
	}
	for name, at := range shapes {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			s := solver.NewInMemoryCacheStorage()
			for range 2 {
				for i := range n {
					l := at(i)
					_ = s.AddLink(l.from, l.link, l.to)
					_ = s.AddResult(l.to, solver.CacheResult{ID: "r" + keys[i]})
				}
			}
			for i := range n {
				l := at(i)
				if !s.HasLink(l.from, l.link, l.to) || s.HasLink(l.from, l.link, "other") {
					t.Fatal(i)
				}
				l.link.Output = 7
				_ = s.WalkLinks(l.from, l.link, func(string) error { return errors.New("not there") })
			}
			for i := range n {
				if err := s.Release("r" + keys[i]); err != nil {
					t.Fatal(err)
				}
			}
			if s.Exists(hub) || s.Exists(keys[n-1]) {
				t.Fatal("something is left")
			}
			if took := time.Since(start); took > time.Minute {
				t.Fatalf("took %v", took)
			}
		})
	}
}

// contract 21: callbacks call back in, and many do at the same time.
func TestMemoryStorageCallbacks(t *testing.T) {
	s := solver.NewInMemoryCacheStorage()
	info := solver.CacheInfoLink{Digest: "op"}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				id := fmt.Sprint(g, "-", i%10)
				_ = s.AddResult(id, solver.CacheResult{ID: "r" + id})
				_ = s.AddLink("hub", info, id)
				_ = s.Walk(func(id string) error { return s.AddLink(id, info, "new") })
				_ = s.WalkLinks("hub", info, func(id string) error {
					return s.WalkBacklinks(id, func(string, solver.CacheInfoLink) error { return s.Release("r" + id) })
				})
				_ = s.WalkResults(id, func(r solver.CacheResult) error {
					return s.WalkIDsByResult(r.ID, func(id string) error { return s.AddLink(id, info, "hub") })
				})
			}
		})
	}
	wg.Wait()
	_ = s.AddResult("end", solver.CacheResult{ID: "r"})
	_ = s.AddLink("hub", info, "end")
	stop := errors.New("stop")
	for name, err := range map[string]error{
		"Walk":          s.Walk(func(string) error { return stop }),
		"WalkBacklinks": s.WalkBacklinks("end", func(string, solver.CacheInfoLink) error { return stop }),
	} {
		if err != stop {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.AddLink("", info, "x"); err == nil {
		t.Error("a node without a name was made")
	}
}

// MayHaveOp says no where there is no link of an operation, and never of a storage that is not
// of this module.
func TestMayHaveOp(t *testing.T) {
	s := solver.NewInMemoryCacheStorage()
	op, sel := digest.FromString("op"), digest.FromString("sel")
	may := func(of solver.CacheKeyStorage, output solver.Index, selector digest.Digest) bool {
		return solver.MayHaveOp(of, op, output, selector)
	}
	want := func(what string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	want("nothing", may(s, 1, sel), false)
	if err := errors.Join(
		s.AddResult("b", solver.CacheResult{ID: "r", CreatedAt: time.Now()}),
		s.AddLink("a", solver.CacheInfoLink{Input: 3, Output: 1, Digest: op, Selector: sel}, "b"),
	); err != nil {
		t.Fatal(err)
	}
	want("the operation", may(s, 1, sel), true)
	want("another output", may(s, 0, sel), false)
	want("without the selector", may(s, 1, ""), false)
	want("a foreign storage", may(struct{ solver.CacheKeyStorage }{s}, 0, ""), true)
	if err := s.Release("r"); err != nil {
		t.Fatal(err)
	}
	want("released", may(s, 1, sel), false)
}
