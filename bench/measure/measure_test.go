package measure

import (
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/bench"
	"github.com/tenonbuild/tenon/bench/floor"
	"github.com/tenonbuild/tenon/bench/graph"
	"github.com/tenonbuild/tenon/bench/ours"
	"github.com/tenonbuild/tenon/bench/peer"
)

var subjects = []bench.Subject{ours.Subject{}, peer.Subject{}, floor.Subject{}}

// A trial checks each Build against what the graph says must be run, so solvers
// that pass it agree with each other.
func TestSolversRunTheSameOps(t *testing.T) {
	for _, shape := range graph.Shapes {
		g, err := graph.New(shape, 200, seed)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range subjects {
			for _, kind := range []Kind{Plain, WithContent, Watched, Export} {
				t.Run(string(shape)+"/"+s.Name()+"/"+string(kind), func(t *testing.T) {
					runTrial(t, &trial{subject: s, c: Case{Kind: kind, Shape: shape, N: 200, Storage: Mem}, g: g})
				})
			}
		}
	}
}

func TestTrialsOnDisk(t *testing.T) {
	for _, s := range subjects {
		t.Run(s.Name(), func(t *testing.T) {
			c := Case{Kind: Plain, Shape: graph.Tree, N: 200, Storage: Bolt}
			runTrial(t, &trial{subject: s, c: c, g: newGraph(t, c)})
		})
	}
}

func TestTrialsOfSeveralJobs(t *testing.T) {
	for _, c := range []Case{
		{Kind: SameJobs, Shape: graph.Tree, N: 50, Storage: Mem},
		{Kind: DisjointJob, Shape: graph.Layered, N: 20, Storage: Mem},
		{Kind: EqualKeys, Shape: graph.Ladder, N: rungs(6), Storage: Mem},
		{Kind: DiscardJob, Shape: graph.Tree, N: 5, Storage: Mem},
	} {
		for _, s := range subjects {
			t.Run(string(c.Kind)+"/"+s.Name(), func(t *testing.T) {
				runTrial(t, &trial{subject: s, c: c, g: newGraph(t, c)})
			})
		}
	}
}

func newGraph(t *testing.T, c Case) *graph.Graph {
	t.Helper()
	g, err := graph.New(c.Shape, c.N, seed)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func runTrial(t *testing.T, tr *trial) {
	t.Helper()
	if err := tr.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, w := range tr.wrong {
		t.Error(w)
	}
	timed := map[Phase]bool{}
	for _, s := range tr.samples {
		if s.metric == Time || s.metric == ReopenTime {
			timed[s.phase] = true
		}
		if s.value < 0 {
			t.Errorf("%s %s is %g", s.metric, s.phase, s.value)
		}
	}
	for _, p := range phasesOf[tr.c.Kind] {
		if timed[p] != tr.c.wants(p) {
			t.Errorf("phase %s: timed %v, wanted %v", p, timed[p], tr.c.wants(p))
		}
	}
}

func TestProbe(t *testing.T) {
	for _, s := range subjects {
		p, err := TakeProbe(t.Context(), s, graph.Tree, 200)
		if err != nil {
			t.Fatal(err)
		}
		if p.Goroutines < 1 {
			t.Errorf("%s: %d goroutines", s.Name(), p.Goroutines)
		}
		if q, err := ParseProbe(p.String()); err != nil || q != p {
			t.Errorf("%v was read as %v: %v", p, q, err)
		}
	}
}

func TestRow(t *testing.T) {
	var out strings.Builder
	table := NewTable(&out)
	table.Set(at(graph.Tree, 1_000, Cold), Row{oursName: 2_000, peerName: 100_000, floorName: 400.4})
	table.Set(at(graph.Tree, 1_000, Warm), Row{oursName: 2_000})
	want := "solver tree 1000 cold mem 2000 100000 400 50.0 5.00\n" +
		"solver tree 1000 warm mem 2000 - - - -\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

func TestBars(t *testing.T) {
	table := NewTable(io.Discard)
	table.Set(at(graph.Tree, 10_000, Cold), Row{oursName: 2_000, peerName: 100_000, floorName: 400})
	table.Set(at(graph.Tree, 1_000_000, Cold), Row{oursName: 4_000, floorName: 400})
	table.Set(at(graph.Tree, 10_000, Warm), Row{oursName: 10_000, peerName: 100_000})
	var out strings.Builder
	PrintBars(&out, table)
	for _, want := range []string{
		"bar met    tree 10000 cold, faster than the peer: 50.0 (>= 25 times)\n",
		"bar missed tree 10000 warm, faster than the peer: 10.0 (>= 25 times)\n",
		"bar missed tree, ratio to the floor at 1000000 to that at 10000: 2.00 (<= 1.5 times)\n",
		"bars not measured: ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no line %q in\n%s", want, &out)
		}
	}
}

// Every bar needs rows that the full table has.
func TestFullTableHasTheRowsOfAllBars(t *testing.T) {
	table := NewTable(io.Discard)
	one := Row{oursName: 1, peerName: 1, floorName: 1}
	for _, s := range Full() {
		c := s.Case
		if s.Probe {
			table.Set(Key{Live, c.Shape, c.N, Cold, Mem}, one)
			continue
		}
		for _, p := range phasesOf[c.Kind] {
			if c.wants(p) {
				for _, m := range []Metric{Time, Alloc, ReopenTime, Disk} {
					table.Set(Key{m, c.Shape, c.N, p, c.Storage}, one)
				}
			}
		}
	}
	for _, b := range Bars() {
		if _, ok := b.value(table); !ok {
			t.Errorf("no rows for %s", b.What)
		}
	}
}

func TestPrediction(t *testing.T) {
	c := Case{Kind: Plain, Shape: graph.Chain, N: 3_000, Storage: Mem}
	var p predictor
	if d := p.build(c); d.Round(time.Millisecond) != 7857*time.Millisecond {
		t.Errorf("a chain of 3,000 takes %s", d)
	}
	// A machine that is half as fast at 1,000 is so at 3,000.
	small := c
	small.N = 1_000
	p.saw(small, 1_100_000)
	if d := p.build(c); d.Round(time.Millisecond) != 2*7857*time.Millisecond {
		t.Errorf("a chain of 3,000 takes %s", d)
	}
	for _, kind := range []Kind{Plain, SameJobs, DisjointJob, EqualKeys} {
		last := time.Duration(0)
		for _, n := range []int{30, 300, 3_000, 30_000, 300_000, 3_000_000} {
			c := Case{Kind: kind, Shape: graph.Ladder, N: n, Storage: Mem}
			if d := p.build(c); d < last || d > forever {
				t.Errorf("%s: %d vertices take %s, fewer %s", kind, n, d, last)
			} else {
				last = d
			}
		}
	}
	if at := interpolate(known[graph.Tree], 10_000); math.Abs(at-100) > 1e-6 {
		t.Errorf("a known point is %g", at)
	}
}

func TestPeerIsLeftOutWhereItTakesTooLong(t *testing.T) {
	r := &Runner{Log: io.Discard, PeerLimit: time.Minute}
	c := Case{Kind: Plain, Shape: graph.Chain, N: 3_000, Storage: Mem, Until: Warm}
	if got, ok := r.peerCase(c, 0); !ok || got.Until != Warm {
		t.Error("it is left out, or cut short, though there is time")
	}
	r.Deadline = time.Now().Add(12 * time.Second)
	if got, ok := r.peerCase(c, 0); !ok || got.Until != Cold {
		t.Error("it is not cut short, though there is only time for one Build")
	}
	r.Deadline = time.Now().Add(time.Second)
	if _, ok := r.peerCase(c, 0); ok {
		t.Error("it is not left out, though there is no time")
	}
	c.N = maxPeerN + 1
	r.Deadline = time.Time{}
	if _, ok := r.peerCase(c, 0); ok {
		t.Error("it is not left out, though it would overflow its stack")
	}
}
