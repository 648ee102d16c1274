package measure

import (
	"math"
	"time"

	"github.com/tenonbuild/tenon/bench/graph"
)

// point is a figure of the peer: a cold or warm build of n vertices, in µs a
// vertex. The larger of the two was taken, on a quiet machine.
type point struct{ n, micros float64 }

// known is what the peer was seen to take. Between and beyond the points it is
// taken to follow a power of n.
var known = map[graph.Shape][]point{
	graph.Chain:   {{1_000, 550}, {3_000, 2_619}, {10_000, 19_000}},
	graph.FanIn:   {{1_000, 100}, {10_000, 124}, {100_000, 344}},
	graph.Tree:    {{1_000, 95}, {10_000, 100}, {100_000, 146}},
	graph.Layered: {{1_000, 110}, {10_000, 349}, {100_000, 3_463}},
	graph.Ladder:  {{1_000, 800}, {3_000, 2_180}, {10_000, 9_960}},
	graph.FanOut:  {{1_000, 150}, {10_000, 200}, {100_000, 500}},
}

// boltMicros is what the peer's bolt storage adds: a transaction for each write
// and each read.
const boltMicros = 400

// forever stands for all that is longer.
const forever = 1000 * time.Hour

// predictor tells how long a Build of the peer will take, from what is known
// and from how this machine compared with that so far.
type predictor struct {
	// slower holds, for each shape, how much slower than known the last, which is
	// the largest, case was.
	slower map[graph.Shape]float64
}

// build predicts one Build.
func (p *predictor) build(c Case) time.Duration {
	factor, ok := p.slower[c.Shape]
	if !ok {
		factor = 1
	}
	return time.Duration(min(factor*knownTime(c)*float64(time.Microsecond), float64(forever)))
}

// trial predicts a whole trial, the work around it included.
func (p *predictor) trial(c Case) time.Duration {
	builds := 0
	for _, phase := range phasesOf[c.Kind] {
		if c.wants(phase) && phase != Discard && phase != Flush && phase != Reopen {
			builds++
		}
	}
	if c.Kind == Export {
		builds = 2
	}
	return time.Duration(max(builds, 1)) * p.build(c)
}

// saw takes note of a cold or warm build that was measured, in ns a vertex.
func (p *predictor) saw(c Case, ns float64) {
	if p.slower == nil {
		p.slower = map[graph.Shape]float64{}
	}
	if c.Kind == Plain && c.Storage == Mem {
		p.slower[c.Shape] = ns * float64(c.N) / 1000 / knownTime(c)
	}
}

// knownTime is in µs for one Build on the machine that known is from.
func knownTime(c Case) float64 {
	n := float64(c.N)
	switch c.Kind {
	case SameJobs:
		return 11 * n * Jobs
	case DisjointJob:
		return 160 * n * Jobs
	case EqualKeys:
		// Two jobs on a ladder of equal keys: 0.5 s at 20 rungs, and 1.85 times
		// that for each rung more.
		return 0.5e6*math.Pow(1.85, n/3-20) + 500*n
	case DiscardJob:
		n *= besideFactor
	case WithContent:
		n *= 1.5
	}
	micros := n * interpolate(known[c.Shape], n)
	if c.Storage == Bolt {
		micros += boltMicros * n
	}
	return micros
}

func interpolate(points []point, n float64) float64 {
	i := 1
	for i < len(points)-1 && n > points[i].n {
		i++
	}
	a, b := points[i-1], points[i]
	power := math.Log(b.micros/a.micros) / math.Log(b.n/a.n)
	return a.micros * math.Pow(n/a.n, power)
}
