package execop_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"
)

func cacheMount(id, dest string, how pb.CacheSharingOpt) func(*pb.ExecOp) {
	return with(&pb.Mount{
		MountType: pb.MountType_CACHE, Input: -1, Output: -1, Dest: dest,
		CacheOpt: &pb.CacheOpt{ID: id, Sharing: how},
	})
}

// An op that mounts a cache twice has it once, however it shares it with others.
func TestCacheMountTwice(t *testing.T) {
	m := newMachine(t)
	for _, other := range []pb.CacheSharingOpt{pb.CacheSharingOpt_LOCKED, pb.CacheSharingOpt_SHARED, pb.CacheSharingOpt_PRIVATE} {
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
		op := sh("echo $RANDOM > /a/f; cmp /a/f /b/f",
			cacheMount("twice", "/a", other), cacheMount("twice", "/b", pb.CacheSharingOpt_LOCKED))
		_, err := m.execContext(ctx, op, m.base)
		stop()
		if err != nil {
			t.Errorf("locked and %s: %v", other, err)
		}
	}
}

// Ops that lock the same caches do not wait for each other, in whatever order they
// mount them.
func TestCacheMountsInAnyOrder(t *testing.T) {
	m := newMachine(t)
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
	defer stop()
	m.deps.Executor = executorFunc(func(context.Context, executor.Mount, []executor.Mount, executor.ProcessInfo) error { return nil })
	var g errgroup.Group
	for _, ids := range [][2]string{{"one", "two"}, {"two", "one"}} {
		op := sh("true", cacheMount(ids[0], "/a", pb.CacheSharingOpt_LOCKED), cacheMount(ids[1], "/b", pb.CacheSharingOpt_LOCKED))
		g.Go(func() error {
			var errs error
			for range 100 {
				_, err := m.execContext(ctx, op, m.base)
				errs = errors.Join(errs, err)
			}
			return errs
		})
	}
	noError(t, g.Wait())
}
