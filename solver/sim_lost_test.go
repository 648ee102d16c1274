package solver_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// What a simulation does about results that are lost: what a result stands for is gone,
// which whoever reads it finds out.

// errLost is what is wrong with a result that is gone.
var errLost = errors.New("it is gone")

// simLosses is what results are lost in a run of a case.
type simLosses struct {
	gone   map[string]bool // by ID
	counts map[string]int  // by value
	// found has the result objects that were found gone, and counts them by value. There
	// may be several of one ID: a cache hands out a new one, and who passes one on may.
	found       map[solver.Result]bool
	foundCounts map[string]int
	// unread counts content keys that could not be computed, by definition. The op may
	// have been run before.
	unread map[string]int
}

func newSimLosses() simLosses {
	return simLosses{gone: map[string]bool{}, counts: map[string]int{}, found: map[solver.Result]bool{}, foundCounts: map[string]int{}, unread: map[string]int{}}
}

// read reports whether a result is gone when an op reads it. It may vanish just before.
func (r *simRun) read(res solver.Result) error {
	if r.c.losses == 0 || r.world.quiet.Load() {
		return nil
	}
	id, value := res.ID(), solvertest.Value(res)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.lost.gone[id] && r.lost.counts[value] < r.c.losses && r.c.roll(25, "lost", r.world.calls.Add(1)) {
		r.lost.gone[id] = true
		r.lost.counts[value]++
		if !r.c.unseen {
			for _, cw := range r.world.caches {
				cw.results.Prune(id)
			}
		}
	}
	if r.lost.gone[id] {
		if !r.lost.found[res] {
			r.lost.found[res] = true
			r.lost.foundCounts[value]++
		}
		return errLost
	}
	return nil
}

// readAll has an op read its inputs.
func (r *simRun) readAll(inputs []solver.Result) error {
	for k, in := range inputs {
		if err := r.read(in); err != nil {
			return fmt.Errorf("reading input %d: %w", k, &solver.LostInputError{Input: solver.Index(k), Err: err})
		}
	}
	return nil
}

// savedGone reports whether a cache refuses a result because it is gone.
func (r *simRun) savedGone(res solver.Result) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost.gone[res.ID()] && !r.c.unseen
}

// resolve resolves an op whose content functions read the inputs.
func (r *simRun) resolve(v solver.Vertex, b solver.Builder) (solver.Op, error) {
	op, err := solvertest.Resolve(v, b)
	if err != nil {
		return nil, err
	}
	return &simReadingOp{op, r, r.o.defs[r.index(v.Name())]}, nil
}

type simReadingOp struct {
	solver.Op
	r   *simRun
	def string
}

func (o *simReadingOp) CacheMap(ctx context.Context, index int) (*solver.CacheMap, bool, error) {
	cm, last, err := o.Op.CacheMap(ctx, index)
	if err != nil {
		return cm, last, err
	}
	for i := range cm.Deps {
		fn := cm.Deps[i].ComputeDigestFunc
		if fn == nil {
			continue
		}
		cm.Deps[i].ComputeDigestFunc = func(ctx context.Context, res solver.Result) (digest.Digest, error) {
			if err := o.r.read(res); err != nil {
				o.r.mu.Lock()
				o.r.lost.unread[o.def]++
				o.r.mu.Unlock()
				return "", &solver.LostInputError{Err: err}
			}
			return fn(ctx, res)
		}
	}
	return cm, last, nil
}

// simTwin is an input that an op returns as an object of its own.
type simTwin struct {
	solver.Result
	id string
}

func (t *simTwin) ID() string { return t.id }

// passOn is what an op returns of a result that it passes on.
func (r *simRun) passOn(v *simVertex, res solver.Result) solver.Result {
	if v.passes == passesTwin {
		return &simTwin{solvertest.NewResult(solvertest.Value(res), r.stats), res.ID()}
	}
	return res
}

// simRewinds is how many results of one value are lost before a build may fail: what an op
// has made is made again three times.
const simRewinds = 4

// lostTooOften reports whether results that a build of a vertex needs were lost more
// often than they are made again.
func (r *simRun) lostTooOften(vertex int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.o.mayRun(vertex) {
		if r.lossesOf(i, r.lost.counts) >= simRewinds {
			return true
		}
	}
	return false
}

// mayFailAgain reports whether a vertex may have failed although it was built: what it
// stands for, or stands on, was lost, and then made again by an op that may fail.
func (r *simRun) mayFailAgain(vertex int) bool {
	if !r.o.mayFail(vertex) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.o.mayRun(vertex) {
		if r.lossesOf(i, r.lost.counts) > 0 {
			return true
		}
	}
	return false
}

// lossesOf adds up what is counted of a vertex's values. r.mu is held.
func (r *simRun) lossesOf(i int, counts map[string]int) (n int) {
	for out := range r.c.vertices[i].outputs {
		n += counts[r.o.value(simEdge{i, out})]
	}
	return n
}

// remade is how often an op of a definition may have been run again for what was lost:
// each time that its result, or the one it passes on, was found gone, by each that had run
// it. Those are its vertices, and for each job that ignores caches, another one.
func (r *simRun) remade(def string) int {
	all := r.ofDefinition(def)
	return (len(all)+r.ignorers(def))*r.lossesOf(all[0], r.lost.foundCounts) + r.lost.unread[def]
}
