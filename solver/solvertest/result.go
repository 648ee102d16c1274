package solvertest

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/tenonbuild/tenon/solver"
)

// serial makes IDs of results.
var serial atomic.Int64

// fakeResult is a value that counts how it is released.
type fakeResult struct {
	id       string
	value    string
	stats    *Stats
	released atomic.Bool
}

// NewResult returns a result that stands for a value. Stats may be nil.
func NewResult(value string, stats *Stats) solver.Result {
	return handOut(fmt.Sprintf("result-%d", serial.Add(1)), value, stats)
}

func handOut(id, value string, stats *Stats) solver.Result {
	if stats == nil {
		stats = &Stats{}
	}
	stats.Live.Add(1)
	return &fakeResult{id: id, value: value, stats: stats}
}

func (r *fakeResult) ID() string { return r.id }

func (r *fakeResult) Sys() interface{} { return r.value }

func (r *fakeResult) Release(context.Context) error {
	if !r.released.Swap(true) {
		r.stats.Live.Add(-1)
		return nil
	}
	r.stats.mu.Lock()
	defer r.stats.mu.Unlock()
	r.stats.faults = append(r.stats.faults, fmt.Sprintf("%s (%s) was released twice", r.id, r.value))
	return fmt.Errorf("%s was released before", r.id)
}

// Value returns the value a result of this package stands for.
func Value(r solver.Result) string {
	s, _ := r.Sys().(string)
	return s
}
