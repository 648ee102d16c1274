package engine

import (
	"fmt"
	"sync"
	"time"
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
	return fmt.Errorf("it is not asked before %s, since it cost another build time: %w", x.until.Format(time.TimeOnly), x.why)
}

// ended notes how a cache has answered.
func (b *breaker) ended(key string, asked, now time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil || now.Sub(asked) < costly {
		delete(b.open, key)
		return
	}
	if b.open == nil || len(b.open) >= maxBroken {
		b.open = map[string]broken{}
	}
	b.open[key] = broken{now.Add(breakFor), err}
}
