package engine

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/engine/objects"
	"github.com/tenonbuild/tenon/engine/registry"
)

// breaker remembers caches that have cost builds time and given nothing, so that the next
// builds do not ask them for a while. The zero value is ready.
type breaker struct {
	mu   sync.Mutex // guards open
	open map[string]broken
}

// broken is a cache that is not asked.
type broken struct {
	until time.Time
	why   error
}

const (
	// costly is how long a cache may take to fail without being left out.
	costly = 5 * time.Second
	// breakFor is for how long one is left out that took longer.
	breakFor = time.Minute
	// maxBreak bounds for how long one is left out that asks for that.
	maxBreak = 15 * time.Minute
	// maxBroken bounds what is remembered.
	maxBroken = 1000
)

// check says why a cache is not asked at a time; nil if it is.
func (b *breaker) check(key string, now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, ok := b.open[key]
	if !ok {
		return nil
	}
	if !now.Before(x.until) {
		delete(b.open, key)
		return nil
	}
	return fmt.Errorf("it is not asked before %s, since it cost another build time, or asked for that: %w", x.until.Format(time.TimeOnly), x.why)
}

// ended notes how a cache has answered, and how long that took.
func (b *breaker) ended(key string, took time.Duration, now time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	away := min(later(err), maxBreak)
	if err != nil && took >= costly {
		away = max(away, breakFor)
	}
	if away == 0 {
		delete(b.open, key)
		return
	}
	if b.open == nil || len(b.open) >= maxBroken {
		b.open = map[string]broken{}
	}
	b.open[key] = broken{now.Add(away), err}
}

// later is for how long a cache asks to be left alone.
func later(err error) time.Duration {
	var busy *registry.LaterError
	var status *objects.StatusError
	switch {
	case errors.As(err, &busy):
		return busy.After
	case errors.As(err, &status):
		return status.After
	}
	return 0
}
