package keygraph_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/keygraph"
)

// Names as the solver makes them.
func nodeID(i int) string {
	d := digest.FromString(fmt.Sprint("node", i))
	return base64.RawURLEncoding.EncodeToString([]byte(d[7:39]))
}

func opDigest(i int) string { return string(digest.FromString(fmt.Sprint("op", i))) }

// name returns one of a few names of all forms.
func name(rng *rand.Rand, n int) string { return nameOf(rng.IntN(n)) }

func nameOf(i int) string {
	switch i % 4 {
	case 0:
		return nodeID(i)
	case 1:
		return opDigest(i)
	case 2:
		return nodeID(i) + "@1"
	}
	return fmt.Sprint("n", i)
}

type edge struct {
	from, to string
	link     keygraph.Link
}

// oracle is the graph in the plainest form.
type oracle struct {
	results map[string]map[string]time.Time
	links   map[edge]bool
}

func newOracle() *oracle {
	return &oracle{results: map[string]map[string]time.Time{}, links: map[edge]bool{}}
}

func (o *oracle) node(id string) {
	if o.results[id] == nil {
		o.results[id] = map[string]time.Time{}
	}
}

func (o *oracle) leaves(id string) bool {
	for l := range o.links {
		if l.from == id {
			return true
		}
	}
	return false
}

// dead returns all that can be reached from a node if nothing keeps it.
func (o *oracle) dead(id string) map[string]bool {
	region := map[string]bool{id: true}
	for again := true; again; {
		again = false
		for l := range o.links {
			if region[l.from] && !region[l.to] {
				region[l.to], again = true, true
			}
		}
	}
	for r := range region {
		if len(o.results[r]) > 0 || r != id && !o.leaves(r) {
			return nil
		}
	}
	return region
}

func (o *oracle) release(result string) {
	lost := map[string]bool{}
	for id, held := range o.results {
		if _, ok := held[result]; ok {
			delete(held, result)
			lost[id] = true
		}
	}
	for again := true; again; {
		again = false
		for id := range lost {
			region := o.dead(id)
			if o.results[id] == nil || region == nil {
				continue
			}
			again = true
			for r := range region {
				delete(o.results, r)
			}
			for l := range o.links {
				if region[l.to] {
					lost[l.from] = true
					delete(o.links, l)
				}
			}
		}
	}
}

// diff says in what a graph differs.
func (o *oracle) diff(g *keygraph.Graph) error {
	if err := g.Check(); err != nil {
		return err
	}
	seen := map[string]bool{}
	_ = g.Walk(func(id string) error { seen[id] = true; return nil })
	if len(seen) != len(o.results) {
		return fmt.Errorf("%d nodes, want %d", len(seen), len(o.results))
	}
	links := 0
	for id, held := range o.results {
		if !seen[id] || !g.Has(id) {
			return fmt.Errorf("node %q is missing", id)
		}
		results := g.Results(id, nil)
		if len(results) != len(held) {
			return fmt.Errorf("node %q: results %v, want %v", id, results, held)
		}
		for r, at := range held {
			if got, ok := g.Load(id, r); !ok || !got.CreatedAt.Equal(at) || !slices.Contains(g.Holders(r), id) {
				return fmt.Errorf("node %q: result %q: %v", id, r, got)
			}
		}
		for _, b := range g.Backlinks(id, nil) {
			links++
			if !o.links[edge{b.From, id, b.Link}] {
				return fmt.Errorf("link %v to %q should be gone", b, id)
			}
		}
	}
	for l := range o.links {
		if !g.HasLink(l.from, l.link, l.to) || !slices.Contains(g.Targets(l.from, l.link), l.to) {
			return fmt.Errorf("link %v is missing", l)
		}
	}
	if links != len(o.links) {
		return fmt.Errorf("%d links, want %d", links, len(o.links))
	}
	return nil
}

// step does something at random to both.
func (o *oracle) step(rng *rand.Rand, n int, g *keygraph.Graph) error {
	switch rng.IntN(12) {
	case 0:
		r := name(rng, n)
		o.release(r)
		return g.Release(r)
	case 1, 2:
		id, r := name(rng, n), keygraph.Result{ID: name(rng, n), CreatedAt: time.Unix(rng.Int64N(1<<40), rng.Int64N(1e9))}
		o.node(id)
		o.results[id][r.ID] = r.CreatedAt
		return g.AddResult(id, r)
	case 3, 4:
		s := keygraph.Save{ID: name(rng, n), Op: name(rng, 5), Output: rng.IntN(3) - 1}
		for i := range rng.IntN(8) {
			s.Sources = append(s.Sources, keygraph.Source{Input: i / 2, ID: name(rng, n), Selector: []string{"", "/src"}[rng.IntN(2)]})
		}
		if len(s.Sources) == 0 {
			s.Result = keygraph.Result{ID: name(rng, n)}
			o.node(s.ID)
			o.results[s.ID][s.Result.ID] = s.Result.CreatedAt
		}
		for _, from := range s.Sources {
			o.link(edge{from.ID, s.ID, keygraph.Link{Input: from.Input, Output: s.Output, Op: s.Op, Selector: from.Selector}})
		}
		return g.Save(&s)
	}
	l := edge{name(rng, n), name(rng, n), keygraph.Link{Input: rng.IntN(2), Op: name(rng, 4)}}
	o.link(l)
	return g.AddLink(l.from, l.link, l.to)
}

func (o *oracle) link(l edge) {
	o.node(l.from)
	o.node(l.to)
	o.links[l] = true
}

// contract 21: the graph does what its oracle does, whatever is asked of it.
func TestOracle(t *testing.T) {
	seeds := 200
	if testing.Short() {
		seeds = 30
	}
	for seed := range uint64(seeds) {
		rng := rand.New(rand.NewPCG(seed, 0))
		n := 3 + rng.IntN(40)
		g, o := keygraph.New(), newOracle()
		for i := range 300 {
			if err := o.step(rng, n, g); err != nil {
				t.Fatal(err)
			}
			if i%29 == 0 {
				if err := o.diff(g); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, i, err)
				}
			}
		}
		for i := range n {
			r := nameOf(i)
			o.release(r)
			if err := g.Release(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.diff(g); err != nil {
			t.Fatalf("seed %d, at the end: %v", seed, err)
		}
	}
}

// A match needs every input, by any of its sources, however many there are.
func TestMatch(t *testing.T) {
	const n = 10_000
	g := keygraph.New()
	var wide []keygraph.Source
	for i := range n {
		wide = append(wide, keygraph.Source{Input: i / 2, ID: nodeID(i)})
	}
	for _, id := range []string{"top", "other"} {
		if err := g.Save(&keygraph.Save{ID: id, Op: "op", Sources: wide}); err != nil {
			t.Fatal(err)
		}
	}
	if got := g.Match("op", 0, wide); len(got) != 2 {
		t.Fatal(got)
	}
	for i := range n { // one of two is enough
		if i%2 == 0 {
			wide[i].ID = "unknown"
		}
	}
	if got := g.Match("op", 0, wide); len(got) != 2 {
		t.Fatal(got)
	}
	if wide[1].ID = "unknown"; len(g.Match("op", 0, wide)) != 0 || g.Leads("op", 0, wide[:2]) || !g.Leads("op", 0, wide[:4]) {
		t.Fatal("a match without an input")
	}
	if len(g.Match("op", 1, wide[2:])) != 0 || len(g.Match("op", 0, nil)) != 0 {
		t.Fatal("a match of another output")
	}
}

// What others write while a release is under way stays.
func TestReleaseBesideWriters(t *testing.T) {
	g := keygraph.New()
	const n, rounds = 20_000, 8
	ids := make([]string, n)
	for i := range ids {
		ids[i] = nodeID(i)
	}
	for round := range rounds {
		for i := range n - 1 { // a ladder: chain and cycles
			add(t, g, ids[i], "op", ids[i+1])
			if round%2 == 1 && i%100 == 99 {
				add(t, g, ids[i+1], "back", ids[i-99])
			}
		}
		addResult(t, g, ids[n-1], "r")
		var wg sync.WaitGroup
		wg.Go(func() { noError(t, g.Release("r")) })
		for w := range 3 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				for i := range 300 {
					from, to, r := ids[rng.IntN(n)], ids[rng.IntN(n)], fmt.Sprint("keep", w, "-", i)
					noError(t, g.Save(&keygraph.Save{ID: to, Result: keygraph.Result{ID: r}, Op: r, Sources: []keygraph.Source{{ID: from}}}))
					if _, ok := g.Load(to, r); !ok || !g.HasLink(from, keygraph.Link{Op: r}, to) {
						t.Error("what was written is gone")
					}
				}
			})
		}
		wg.Wait()
		for w := range 3 {
			rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
			for i := range 300 {
				from, to, r := ids[rng.IntN(n)], ids[rng.IntN(n)], fmt.Sprint("keep", w, "-", i)
				if _, ok := g.Load(to, r); !ok || !g.HasLink(from, keygraph.Link{Op: r}, to) {
					t.Fatalf("round %d: what was written is gone", round)
				}
			}
		}
		noError(t, g.Check())
		for w := range 3 {
			for i := range 300 {
				noError(t, g.Release(fmt.Sprint("keep", w, "-", i)))
			}
		}
		noError(t, g.Check())
	}
}

// Walks see each node once, and nothing that came after they began, whatever happens
// meanwhile.
func TestWalkBesideWriters(t *testing.T) {
	g := keygraph.New()
	const n = 3000
	for i := range n {
		addResult(t, g, nodeID(i), fmt.Sprint("r", i%7))
	}
	seen := map[string]int{}
	noError(t, g.Walk(func(id string) error {
		if seen[id]++; len(seen)%500 == 0 {
			r := fmt.Sprint("r", len(seen)/500)
			noError(t, g.Release(r))
			for i := range n {
				addResult(t, g, nodeID(i), "again")
			}
		}
		return nil
	}))
	for id, times := range seen {
		if times != 1 {
			t.Fatalf("%s was visited %d times", id, times)
		}
	}
	noError(t, g.Check())
}

// What was released gives its memory back, also if something stays.
func TestMemoryComesBack(t *testing.T) {
	const n = 100_000
	for _, keep := range []bool{false, true} {
		g := keygraph.New()
		before := heap()
		addResult(t, g, nodeID(0), "r")
		for i := range n {
			add(t, g, nodeID(i), opDigest(i), nodeID(i+1))
			addResult(t, g, nodeID(i+1), "r")
		}
		if keep {
			addResult(t, g, nodeID(1), "keep")
		}
		full := heap() - before
		noError(t, g.Release("r"))
		noError(t, g.Check())
		left := heap() - before
		if left > full*2/3 || !keep && left > full/10 {
			t.Errorf("keeping %v: %d bytes of %d are left", keep, left, full)
		}
		runtime.KeepAlive(g)
	}
}

// Nothing takes longer for each piece when there are more of them. A unit is the
// steps that a shape takes.
func TestLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	shapes := map[string]func(g *keygraph.Graph, n int){
		"chain": func(g *keygraph.Graph, n int) {
			for i := range n {
				add(t, g, nodeID(i), opDigest(i), nodeID(i+1))
			}
			addResult(t, g, nodeID(n), "r")
			noError(t, g.Release("r"))
		},
		"hub": func(g *keygraph.Graph, n int) {
			for i := range n {
				add(t, g, "hub", opDigest(i%2), nodeID(i))
				add(t, g, nodeID(i), opDigest(i), "end")
				addResult(t, g, nodeID(i), fmt.Sprint("r", i))
				addResult(t, g, "end", fmt.Sprint("r", i))
			}
			for i := range n {
				noError(t, g.Release(fmt.Sprint("r", i)))
			}
		},
		"cycle": func(g *keygraph.Graph, n int) {
			for i := range n {
				add(t, g, nodeID(i), "op", nodeID((i+1)%n))
				addResult(t, g, nodeID(i), fmt.Sprint("r", i))
			}
			for i := range n {
				noError(t, g.Release(fmt.Sprint("r", i)))
			}
		},
		"one result": func(g *keygraph.Graph, n int) {
			for i := range n {
				addResult(t, g, nodeID(i), "r")
			}
			noError(t, g.Release("r"))
		},
	}
	const n = 20_000
	for shape, run := range shapes {
		cost := func(n int) time.Duration {
			best := time.Hour
			for range 3 {
				g := keygraph.New()
				start := cpu()
				run(g, n)
				best = min(best, cpu()-start)
				if g.Walk(func(id string) error { return fmt.Errorf("%s is left", id) }) != nil {
					t.Errorf("%s: something is left", shape)
				}
			}
			return best
		}
		small, large := cost(n), cost(4*n)
		if t.Logf("%s: %v, four times as many %v", shape, small, large); large > 10*small+10*time.Millisecond {
			t.Errorf("%s: %v for %d, %v for four times as many", shape, small, n, large)
		}
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func add(t testing.TB, g *keygraph.Graph, from, op, to string) {
	t.Helper()
	noError(t, g.AddLink(from, keygraph.Link{Op: op}, to))
}

func addResult(t testing.TB, g *keygraph.Graph, id, r string) {
	t.Helper()
	noError(t, g.AddResult(id, keygraph.Result{ID: r, CreatedAt: time.Unix(1, 2)}))
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// Names of all forms come back as they are, and none is taken for another.
func TestNames(t *testing.T) {
	g := keygraph.New()
	hex := strings.Repeat("0123456789abcdef", 4)
	names := []string{
		"x", "\x00", "\x01" + strings.Repeat("a", 32), "sha256:" + hex, "sha256:" + strings.ToUpper(hex), hex, "random:" + hex,
		strings.Repeat("A", 43), strings.Repeat("A", 42) + "B", strings.Repeat("_", 42) + "8", strings.Repeat("A", 42) + "=",
		strings.Repeat("long", 5000), strings.Repeat("longer", 50_000),
	}
	for i, n := range names {
		addResult(t, g, n, n)
		noError(t, g.AddLink(n, keygraph.Link{Op: n, Selector: n, Output: -i, Input: i}, names[0]))
	}
	for i, n := range names {
		if got := g.Results(n, nil); len(got) != 1 || got[0].ID != n {
			t.Errorf("%.80q: %v", n, got)
		}
		if !slices.Contains(g.Backlinks(names[0], nil), keygraph.Backlink{From: n, Link: keygraph.Link{Op: n, Selector: n, Output: -i, Input: i}}) {
			t.Errorf("%.80q: no link", n)
		}
	}
	noError(t, g.Check())
	for _, bad := range []error{g.AddResult("", keygraph.Result{ID: "r"}), g.AddResult("a", keygraph.Result{}), g.AddLink("", keygraph.Link{}, "a"), g.AddLink("a", keygraph.Link{}, ""), g.AddLink("a", keygraph.Link{Input: 1 << 40}, "b")} {
		if bad == nil {
			t.Error("something without a name was taken")
		}
	}
}

// BenchmarkSave measures a chain of n keys, each with a link and a result, by CPU time.
func BenchmarkSave(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		saves := make([]keygraph.Save, n)
		now := time.Now()
		for i := range saves {
			saves[i] = keygraph.Save{ID: nodeID(i + 1), Op: opDigest(i), Result: keygraph.Result{ID: nodeID(i + 1), CreatedAt: now}, Sources: []keygraph.Source{{ID: nodeID(i)}}}
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				before := heap()
				g := keygraph.New()
				b.StartTimer()
				start := cpu()
				for i := range saves {
					_ = g.Save(&saves[i])
				}
				b.ReportMetric(float64(cpu()-start)/float64(n), "cpu-ns/key")
				b.StopTimer()
				b.ReportMetric(float64(heap()-before)/float64(n), "live-B/key")
				start = cpu()
				for i := range saves {
					g.Leads(saves[i].Op, 7, saves[i].Sources)
				}
				b.ReportMetric(float64(cpu()-start)/float64(n), "miss-ns")
				start = cpu()
				for i := range saves {
					if len(g.Match(saves[i].Op, 0, saves[i].Sources)) != 1 {
						b.Fatal("no match")
					}
				}
				b.ReportMetric(float64(cpu()-start)/float64(n), "match-ns")
				if os.Getenv("RELEASE") != "" {
					start = cpu()
					for i := range saves {
						_ = g.Release(saves[i].Result.ID)
					}
					b.ReportMetric(float64(cpu()-start)/float64(n), "release-ns")
				}
				b.StartTimer()
			}
		})
	}
}
