package edge

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var (
	simSeeds = flag.Int("edge.seeds", 3000, "how many scenarios TestSim runs")
	simSeed  = flag.Uint64("edge.seed", 0, "the only seed to run, with a log; 0: seeds 1 to edge.seeds")
)

// TestSim solves random graphs with random caches, demands, cancellations and
// failures, the events in random order, and checks each step and the outcome.
func TestSim(t *testing.T) {
	if *simSeed != 0 {
		sp := generate(*simSeed)
		log, err := try(sp, true)
		t.Logf("%s\n%s", sp, log)
		if err != nil {
			t.Fatal(report(*simSeed, sp, err))
		}
		return
	}
	faults := 0
	for seed := range uint64(*simSeeds) {
		sp := generate(seed + 1)
		if _, err := try(sp, false); err != nil {
			t.Error(report(seed+1, sp, err))
			if faults++; faults == 3 {
				t.Fatal("and so on")
			}
		}
	}
}

// try runs a scenario and checks how it ends. With wanted, it writes a log.
func try(sp *spec, wanted bool) (log string, err error) {
	s := newSim(sp)
	if wanted {
		s.log = new(strings.Builder)
	}
	defer func() {
		r := recover()
		if s.log != nil {
			log = s.log.String()
		}
		switch r := r.(type) {
		case nil:
		case fault:
			err = r
		default:
			if !wanted {
				err = fault{what: fmt.Sprintf("panic: %v", r)}
				return
			}
			panic(r)
		}
	}()
	s.run()
	s.checkOracle()
	s.checkVisits()
	return "", nil
}

func (f fault) Error() string { return f.what }

// maxVisits bounds the steps of all edges together, for each thing that happened
// from outside.
const maxVisits = 14

func (s *sim) checkVisits() {
	size := 0
	for _, v := range s.sp.Vertices {
		size += 2 * (len(v.Inputs) + len(v.Maps) + 1)
	}
	if limit := maxVisits * size * (s.changes + 1); s.visits > limit {
		s.fault(nil, "%d steps, at most %d expected", s.visits, limit)
	}
}

// checkOracle compares with what plain recursion does.
func (s *sim) checkOracle() {
	strict := !s.sp.Evolving
	may := newOracle(s.sp) // what may be run and computed
	for _, id := range slices.Sorted(maps.Keys(s.requests)) {
		r := s.requests[id]
		v, out := r.e.v.index, r.e.output
		alone := newOracle(s.sp)
		ok := alone.edge(v, out).solve(r.level)
		may.add(alone)
		switch {
		case r.failed && ok && !s.failsBelow(v):
			s.fault(r.e, "request %d for %s of %s.%d failed, and should not", id, r.level, s.sp.Vertices[v].Name, out)
		case r.met && !ok && strict && !s.failsBelow(v):
			s.fault(r.e, "request %d for %s of %s.%d was met, and should not", id, r.level, s.sp.Vertices[v].Name, out)
		}
	}
	if !strict || s.sp.unsure() {
		return
	}
	r := rand.New(rand.NewPCG(s.sp.Order, 3))
	for tries := 0; ; tries++ {
		e, what := s.tooMuch(may)
		if e == nil {
			return
		}
		if tries == maxTries {
			s.fault(e, "%s, and need not be", what)
		}
		may.add(s.together(r))
	}
}

// maxTries is how many orders of doing things the oracle tries to justify what
// was done: what an edge needs depends on what others have found out before.
const maxTries = 1000

// together has an oracle meet all requests, in a random order.
func (s *sim) together(r *rand.Rand) *oracle {
	o := newOracle(s.sp)
	o.r = r
	if r.IntN(2) == 0 {
		o.contents = map[int][]string{}
	}
	ids := slices.Sorted(maps.Keys(s.requests))
	for _, i := range r.Perm(len(ids)) {
		req := s.requests[ids[i]]
		o.edge(req.e.v.index, req.e.output).solve(req.level)
	}
	return o
}

func (o *oracle) add(other *oracle) {
	maps.Copy(o.ran, other.ran)
	maps.Copy(o.digests, other.digests)
}

// tooMuch finds something that was done, and that the oracle would not do.
func (s *sim) tooMuch(may *oracle) (*simEdge, string) {
	for _, v := range slices.Sorted(maps.Keys(s.runs)) {
		if !may.ran[v] {
			return s.ranEdge(v), s.sp.Vertices[v].Name + " was run"
		}
	}
	for d := range s.digests {
		// The oracle shares nothing, and so learns no keys from others: with one more
		// there is more that may match.
		if !may.digests[d] && !s.taught {
			return s.ranEdge(d[0]), fmt.Sprintf("the content key of input %d of %s was computed", d[1], s.sp.Vertices[d[0]].Name)
		}
	}
	return nil, ""
}

// unsure reports whether it depends on the order of events what is run: more may
// be under way when something fails, or before managers are added.
func (sp *spec) unsure() bool {
	return slices.ContainsFunc(sp.Actions, func(a action) bool { return a.Kind == "add" }) ||
		slices.ContainsFunc(sp.Vertices, func(v vertexSpec) bool { return v.MapFails || strings.HasPrefix(v.Op, "bad") })
}

// ranEdge is an output of a vertex that somebody wanted.
func (s *sim) ranEdge(v int) *simEdge {
	for _, e := range s.vertices[v].edges {
		if e.steps > 0 {
			return e
		}
	}
	return nil
}

// failsBelow reports whether a vertex, or one that it stands on, has a failing op.
// Then it can depend on the order of events who meets the failure: an edge that
// shares an execution shares its failure.
func (s *sim) failsBelow(v int) bool {
	if s.sp.bad(v) {
		return true
	}
	return slices.ContainsFunc(s.sp.Vertices[v].Inputs, func(in inputSpec) bool { return s.failsBelow(in.Vertex) })
}

// report cuts a failing scenario down and shows it.
func report(seed uint64, sp *spec, err error) string {
	small, smallErr := shrink(sp, err)
	log, _ := try(small, true)
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %v\nreplay: go test -run TestSim -edge.seed=%d\ncut down: %v\n%s\n%s", seed, err, seed, smallErr, small, log)
	if f, ok := smallErr.(fault); ok && f.e != nil {
		fmt.Fprintf(&b, "\nas a script:\n%s\n", strings.Join(f.e.history, "\n"))
	}
	return b.String()
}
