package edge

import (
	"flag"
	"fmt"
	"maps"
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
		err, log := try(sp, true)
		t.Logf("%s\n%s", sp, log)
		if err != nil {
			t.Fatal(report(*simSeed, sp, err))
		}
		return
	}
	faults := 0
	for seed := range uint64(*simSeeds) {
		sp := generate(seed + 1)
		if err, _ := try(sp, false); err != nil {
			t.Error(report(seed+1, sp, err))
			if faults++; faults == 3 {
				t.Fatal("and so on")
			}
		}
	}
}

// try runs a scenario and checks how it ends. With wanted, it writes a log.
func try(sp *spec, wanted bool) (err error, log string) {
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
	return nil, ""
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
	ran, digests := map[int]bool{}, map[[2]int]bool{}
	joint := newOracle(s.sp)
	joint.contents = map[int][]string{}
	for _, id := range slices.Sorted(maps.Keys(s.requests)) {
		r := s.requests[id]
		v, out := r.e.v.index, r.e.output
		alone := newOracle(s.sp)
		ok := alone.edge(v, out).solve(r.level)
		joint.edge(v, out).solve(r.level)
		maps.Copy(ran, alone.ran)
		maps.Copy(digests, alone.digests)
		switch {
		case r.failed && ok && !s.failsBelow(v):
			s.fault(r.e, "request %d for %s of %s.%d failed, and should not", id, r.level, s.sp.Vertices[v].Name, out)
		case r.met && !ok && strict && !s.failsBelow(v):
			s.fault(r.e, "request %d for %s of %s.%d was met, and should not", id, r.level, s.sp.Vertices[v].Name, out)
		}
	}
	maps.Copy(ran, joint.ran)
	maps.Copy(digests, joint.digests)
	if !strict || s.sp.unsure() {
		return
	}
	for v := range s.runs {
		if !ran[v] {
			s.fault(s.ranEdge(v), "%s was run, and need not be", s.sp.Vertices[v].Name)
		}
	}
	for d := range s.digests {
		if !digests[d] {
			s.fault(s.ranEdge(d[0]), "the content key of input %d of %s was computed, and need not be", d[1], s.sp.Vertices[d[0]].Name)
		}
	}
}

// unsure reports whether it depends on the order of events what is run: whether
// others are asked first, or a cache map fails; before or after managers are added.
func (sp *spec) unsure() bool {
	return slices.ContainsFunc(sp.Actions, func(a action) bool { return a.Kind == "add" }) ||
		slices.ContainsFunc(sp.Vertices, func(v vertexSpec) bool { return v.MapFails })
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
	_, log := try(small, true)
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %v\nreplay: go test -run TestSim -edge.seed=%d\ncut down: %v\n%s\n%s", seed, err, seed, smallErr, small, log)
	if f, ok := smallErr.(fault); ok && f.e != nil {
		fmt.Fprintf(&b, "\nas a script:\n%s\n", strings.Join(f.e.history, "\n"))
	}
	return b.String()
}
