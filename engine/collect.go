package engine

import (
	"context"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/evictions"
	"github.com/tenonbuild/tenon/engine/store"
)

// diskPoll is how often a build looks whether the disk gets full.
const diskPoll = 5 * time.Second

// collect has the store remove what its policies do not keep, behind the build, which
// counts as running. Close waits for it.
func (e *Engine) collect() { e.running.Go(func() { e.gc(context.Background()) }) }

// gc collects. That it fails fails no build: the next tries again, and du says how
// much there is.
func (e *Engine) gc(ctx context.Context) {
	err := e.store.GC(ctx, func(u store.UsageInfo) {
		if e.collected != nil {
			e.collected(u, nil)
		}
	})
	if err != nil && ctx.Err() == nil && e.collected != nil {
		e.collected(store.UsageInfo{}, err)
	}
}

// noteRemoved notes beside the history what was removed of the cache, for who asks why a step ran.
func noteRemoved(opt Options, r store.Removal) {
	keys := make([]string, len(r.Keys))
	for i, k := range r.Keys {
		keys[i] = evictions.Key(k)
	}
	err := evictions.Add(filepath.Join(History(opt.Root), evictions.Name), evictions.Eviction{At: time.Now(), By: r.By, Needed: r.Needed, Keys: keys})
	if err != nil && opt.Notice != nil {
		opt.Notice(err.Error())
	}
}

// watchDisk collects when the disk gets full, until stop is called.
func (e *Engine) watchDisk(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var eg errgroup.Group
	eg.Go(func() error {
		tick := time.NewTicker(diskPoll)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			if low, err := e.store.Low(); err == nil && low {
				e.gc(ctx)
			}
		}
	})
	return func() {
		cancel()
		_ = eg.Wait() // it returns none
	}
}
