package boltstore

import (
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver/solvertest"
)

// TestModel makes random changes to a store and to a model, with syncs,
// reopenings and commits that fail in between, and compares the two.
func TestModel(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		runModel(t, seed)
	}
}

// modelRun is one run of TestModel.
type modelRun struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand
	path  string
	opt   Options
	store *Store
	model *solvertest.StorageModel
	// failures is how many of the next commits fail before they take place,
	// phantoms how many fail after.
	failures, phantoms chan struct{}
	// before and after are held to make commits hang there; hung is the one that
	// is held.
	before, after sync.Mutex
	hung          *sync.Mutex
}

func runModel(t *testing.T, seed uint64) {
	r := &modelRun{
		t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)),
		path: storePath(t), model: solvertest.NewStorageModel(),
		failures: make(chan struct{}, 10), phantoms: make(chan struct{}, 10),
	}
	fail := func(c chan struct{}, gate *sync.Mutex) func() error {
		return func() error {
			gate.Lock()
			defer gate.Unlock()
			select {
			case <-c:
				return errDisk
			default:
				return nil
			}
		}
	}
	r.opt = Options{FlushEvery: time.Hour, FlushSize: 1 << r.rng.IntN(10)}
	r.opt.hooks = hooks{beforeCommit: fail(r.failures, &r.before), afterCommit: fail(r.phantoms, &r.after)}
	if seed%3 == 0 {
		r.opt.hooks.hashMask = 3
	}
	defer r.goOn()
	r.reopen()
	nodes := 2 + r.rng.IntN(2<<r.rng.IntN(6))
	for step := range 400 {
		r.step(step, nodes)
	}
	r.reopen()
	r.compare(-1)
	r.check(r.store.Close())
}

func (r *modelRun) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("seed %d: %v", r.seed, err)
	}
}

func (r *modelRun) step(step, nodes int) {
	switch k := r.rng.IntN(100); {
	case k < 84:
		op := solvertest.RandomStorageOp(r.rng, nodes)
		r.check(op.Apply(r.model))
		r.check(op.Apply(r.store))
	case k < 87:
		r.hang()
	case k < 90:
		r.goOn()
		if err := r.store.Sync(r.t.Context()); err != nil && !errors.Is(err, errDisk) {
			r.check(err)
		}
	case k < 92:
		r.failures <- struct{}{}
		r.drain(r.failures)
	case k < 94:
		r.phantoms <- struct{}{}
		r.drain(r.phantoms)
	case k < 95:
		r.reopen()
	default:
		r.compare(step)
	}
}

// hang makes the next commit hang, and begins it.
func (r *modelRun) hang() {
	r.goOn()
	r.hung = &r.before
	if r.rng.IntN(2) == 0 {
		r.hung = &r.after
	}
	r.hung.Lock()
	r.store.wake()
}

func (r *modelRun) goOn() {
	if r.hung != nil {
		r.hung.Unlock()
		r.hung = nil
	}
}

// drain keeps a channel from becoming full.
func (r *modelRun) drain(c chan struct{}) {
	if len(c) > 5 {
		<-c
	}
}

func (r *modelRun) compare(step int) {
	r.t.Helper()
	if err := solvertest.DiffStorage(r.store, r.model); err != nil {
		r.t.Fatalf("seed %d, step %d: %v", r.seed, step, err)
	}
}

// reopen closes the store, which must succeed in the end, and opens it.
func (r *modelRun) reopen() {
	r.t.Helper()
	r.goOn()
	if r.store != nil {
		for {
			err := r.store.Sync(r.t.Context())
			if err == nil {
				break
			}
			if !errors.Is(err, errDisk) {
				r.check(err)
			}
		}
		r.check(r.store.Check())
		r.check(r.store.Close())
	}
	s, err := Open(r.path, r.opt)
	r.check(err)
	r.store = s
}
