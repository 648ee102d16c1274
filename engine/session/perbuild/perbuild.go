// Package perbuild remembers what was found out in a build, so that what moves (a
// branch, a file on a server) is looked up once a build however many steps name it.
package perbuild

import (
	"context"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/solver"
)

// builds is how many builds are remembered. Nobody says when a build has ended, so
// the oldest make room; one that is forgotten too early only asks again.
const builds = 256

// patience is how long work that several builds share waits for what one of them finds out:
// the client of that build may not answer.
const patience = 30 * time.Second

// Memo remembers values by build and key. The zero value is ready.
type Memo[V any] struct {
	mu    sync.Mutex // guards what is below, but not what is in answers
	known map[string]map[string]*answer[V]
	order []string // builds, oldest first
}

// answer is one value, or one that is being found out.
type answer[V any] struct {
	turn  chan struct{} // holds one while somebody looks at, or finds out, the rest
	ok    bool
	value V
}

// Do returns what fn says, calling it once a build and key unless it fails. Who
// asks meanwhile waits, until ctx ends. Work that several builds share has what the first of
// them has found out; where that takes very long, what the next one has. Where the solver
// finds no build for ctx, nothing is remembered.
func (m *Memo[V]) Do(ctx context.Context, key string, fn func() (V, error)) (V, error) {
	builds := solver.SessionIDs(ctx) // see session.OfBuild
	if len(builds) == 0 {
		return fn()
	}
	a, err := m.enter(ctx, builds, key)
	if err != nil {
		var none V
		return none, err
	}
	defer func() { <-a.turn }()
	if a.ok {
		return a.value, nil
	}
	v, err := fn()
	if err == nil {
		a.value, a.ok = v, true
	}
	return v, err
}

// enter takes the turn of a build: that of the first, or whose is free when that is not soon.
func (m *Memo[V]) enter(ctx context.Context, builds []string, key string) (*answer[V], error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for n := 0; ; n++ {
		a := m.answer(builds[n%len(builds)], key)
		select {
		case a.turn <- struct{}{}:
			return a, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-timer.C:
			timer.Reset(patience)
		}
		if now := solver.SessionIDs(ctx); len(now) > 0 {
			builds = now // others may have joined
		}
	}
}

func (m *Memo[V]) answer(build, key string) *answer[V] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[string]map[string]*answer[V]{}
	}
	of, ok := m.known[build]
	if !ok {
		of = map[string]*answer[V]{}
		m.known[build] = of
		m.order = append(m.order, build)
		if len(m.order) > builds {
			delete(m.known, m.order[0])
			m.order = m.order[1:]
		}
	}
	a, ok := of[key]
	if !ok {
		a = &answer[V]{turn: make(chan struct{}, 1)}
		of[key] = a
	}
	return a
}
