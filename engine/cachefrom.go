package engine

import (
	"context"
	"sync"
	"time"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/solver"
)

// imports are the caches of others that a build reads.
type imports struct {
	ctx  context.Context
	stop context.CancelFunc

	mu    sync.Mutex // guards what follows
	list  []*remotecache.Import
	byKey map[string]*remotecache.Import // nil of one that cannot be read
	ended sync.WaitGroup
}

// openImports begins to read the caches that the request names.
func (b *build) openImports(ctx context.Context) {
	b.imports.ctx, b.imports.stop = context.WithCancel(ctx)
	for _, o := range b.req.CacheFrom {
		b.importOf(o)
	}
}

// close gives up what is still being read.
func (m *imports) close() {
	if m.stop != nil {
		m.stop()
	}
	m.ended.Wait()
}

// importOf reads a cache in the background, once a build, however often it is named. Nil is
// one that cannot be.
func (b *build) importOf(o remotecache.Option) *remotecache.Import {
	m := &b.imports
	m.mu.Lock()
	defer m.mu.Unlock()
	key := o.Key()
	if have, ok := m.byKey[key]; ok {
		return have
	}
	if m.byKey == nil {
		m.byKey = map[string]*remotecache.Import{}
	}
	ctx, end := b.job.Begin(m.ctx, "importing cache manifest from "+o.Name())
	src, err := remotecache.From(b.engine.caches, o)
	if err == nil {
		err = unmixed(&b.req, o)
	}
	asked := time.Now()
	whose := func() string { return b.asker(o) }
	if err == nil {
		err = b.engine.breaker.check(key, whose, asked)
	}
	if err != nil {
		end(err)
		m.byKey[key] = nil
		return nil
	}
	m.ended.Add(1)
	opened := remotecache.Open(ctx, key, o.Name(), src, b.engine.store, remotecache.Told{
		Loaded: func(err error) {
			if m.ctx.Err() != nil {
				err = nil // the build has ended, and did not need it
			} else {
				b.engine.breaker.ended(key, whose, time.Since(asked), time.Now(), err)
			}
			end(err)
			m.ended.Done()
		},
		Failing: func(took time.Duration, err error) { b.engine.breaker.ended(key, whose, took, time.Now(), err) },
	})
	m.byKey[key] = opened
	m.list = append(m.list, opened)
	return opened
}

// cacheSources are the caches that a definition is looked up in: those of the request, and
// those of the frontend that has it solved.
func (b *build) cacheSources(more []gwclient.CacheOptionsEntry) []solver.CacheManager {
	if b.imports.ctx == nil {
		return nil
	}
	var out []solver.CacheManager
	for _, o := range b.req.CacheFrom {
		if m := b.importOf(o); m != nil {
			out = append(out, b.asSource(m))
		}
	}
	for _, e := range more {
		if m := b.importOf(remotecache.Option{Type: e.Type, Attrs: e.Attrs}); m != nil {
			out = append(out, b.asSource(m))
		}
	}
	return out
}

// asSource is a cache as the solver asks it.
func (b *build) asSource(m *remotecache.Import) solver.CacheManager {
	if b.planning != nil {
		return readImport{m, b.engine.store}
	}
	return m
}

// all are those that were opened.
func (m *imports) all() []*remotecache.Import {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*remotecache.Import(nil), m.list...)
}
