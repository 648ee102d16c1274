package engine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/identity"

	"github.com/tenonbuild/tenon/engine/objects"
	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/remotecache"
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
	whose string // who has asked it
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

// check says why a cache is not asked at a time; nil if it is. Whose says who would ask it, in
// a word that tells apart who has other rights there: it is called only where that counts.
func (b *breaker) check(key string, whose func() string, now time.Time) error {
	x, ok := b.find(key, now)
	if !ok || x.whose != whose() {
		return nil
	}
	return fmt.Errorf("it is not asked before %s, since it cost another build time, or asked for that: %w", x.until.Format(time.TimeOnly), x.why)
}

// find is what is remembered of a cache.
func (b *breaker) find(key string, now time.Time) (broken, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, ok := b.open[key]
	if ok && !now.Before(x.until) {
		delete(b.open, key)
		ok = false
	}
	return x, ok
}

// ended notes how a cache has answered, and how long that took.
func (b *breaker) ended(key string, whose func() string, took time.Duration, now time.Time, err error) {
	away := min(later(err), maxBreak)
	if err != nil && took >= costly && !refused(err) {
		away = max(away, breakFor)
	}
	if _, known := b.find(key, now); away == 0 && !known {
		return
	}
	who := whose()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case away == 0 && b.open[key].whose == who:
		delete(b.open, key)
	case away == 0:
	case b.open == nil || len(b.open) >= maxBroken:
		b.open = map[string]broken{key: {now.Add(away), who, err}}
	default:
		b.open[key] = broken{now.Add(away), who, err}
	}
}

// refused says that a cache does not want to be asked by who has asked it.
func refused(err error) bool {
	status, ok := errors.AsType[*objects.StatusError](err)
	return errors.Is(err, registry.ErrDenied) || ok && (status.Code == http.StatusUnauthorized || status.Code == http.StatusForbidden)
}

// identifying is how long a session is waited for that is asked who it is to a registry.
const identifying = 3 * time.Second

// asker says who asks a cache for the build: which client, and with which rights, where these
// are not among the cache's attributes.
func (b *build) asker(o remotecache.Option) string {
	switch o.Type {
	case "local": // the folder is the session's
		return b.req.Session.ID()
	case "registry":
		named, err := reference.ParseNormalizedNamed(o.Attrs["ref"])
		if err != nil {
			return b.req.Client
		}
		host, err := docker.DefaultHost(reference.Domain(named))
		if err != nil {
			return b.req.Client
		}
		ctx, cancel := context.WithTimeout(b.imports.ctx, identifying)
		defer cancel()
		c, err := b.req.Session.Credentials(ctx, host, reference.Path(named))
		if err != nil {
			return identity.NewID() // nobody else
		}
		return fmt.Sprintf("%s %x", b.req.Client, sha256.Sum256(fmt.Appendf(nil, "%q %q", c.Username, c.Secret)))
	}
	return b.req.Client
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
