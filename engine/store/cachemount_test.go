package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
)

func takeCache(t *testing.T, s *store.Store, id, sharing string) *store.CacheMount {
	t.Helper()
	c, err := s.CacheMount(context.Background(), id, nil, sharing)
	noError(t, err)
	return c
}

func TestCacheMountPersists(t *testing.T) {
	for _, name := range snapshotters {
		t.Run(name, func(t *testing.T) {
			testenv.Root(t)
			opt := store.Options{Root: t.TempDir(), Snapshotter: name}
			s := openStore(t, opt)
			base := write(t, s, nil, store.NewOptions{}, file(t, "base", "0"))
			c, err := s.CacheMount(context.Background(), "npm", base, store.SharingShared)
			noError(t, err)
			mounted(t, c, false, func(dir string) {
				wantFile(t, dir, "base", "0")
				file(t, "new", "1")(dir)
			})
			noError(t, c.Release(context.Background()))
			if err := c.Release(context.Background()); !errors.Is(err, store.ErrReleased) {
				t.Errorf("released twice: %v", err)
			}
			release(t, base)
			noError(t, s.Close())

			s = openStore(t, opt)
			defer func() { noError(t, s.Close()) }()
			c = takeCache(t, s, "npm", store.SharingLocked)
			mounted(t, c, true, func(dir string) {
				wantFile(t, dir, "base", "0")
				wantFile(t, dir, "new", "1")
			})
			list := usageOf(t, s)
			if u := list[c.ID()]; u.Type != store.TypeCacheMount || !u.Mutable || !u.InUse || u.Size == 0 {
				t.Errorf("du: %+v", u)
			}
			noError(t, s.Prune(context.Background(), store.PruneOptions{All: true}, nil))
			noError(t, c.Release(context.Background()))
			if _, ok := usageOf(t, s)[c.ID()]; !ok {
				t.Error("a cache mount in use was pruned")
			}
		})
	}
}

// TestCacheMountAtOnce: two users of a shared cache mount see each other's files.
func TestCacheMountAtOnce(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		ctx := context.Background()
		base := write(t, s, nil, store.NewOptions{}, file(t, "base", "0"))
		a, err := s.CacheMount(ctx, "x", base, "shared")
		noError(t, err)
		b, err := s.CacheMount(ctx, "x", nil, "shared")
		noError(t, err)
		mounted(t, a, false, func(first string) {
			mounted(t, b, false, func(second string) {
				file(t, "from-a", "1")(first)
				file(t, "from-b", "2")(second)
				noError(t, os.Remove(filepath.Join(second, "base")))
				wantFile(t, second, "from-a", "1")
				wantFile(t, first, "from-b", "2")
				mounted(t, b, true, func(third string) {
					wantFile(t, third, "from-b", "2")
					if os.WriteFile(filepath.Join(third, "x"), nil, 0o644) == nil {
						t.Error("read-only is not")
					}
				})
			})
			file(t, "late", "3")(first)
		})
		mounted(t, b, false, func(dir string) { wantFile(t, dir, "late", "3") })
		noError(t, errors.Join(a.Release(ctx), b.Release(ctx), base.Release(ctx)))
	})
}

func TestCacheMountSharing(t *testing.T) {
	s := newStore(t, "")
	ctx := context.Background()
	a, b := takeCache(t, s, "x", "shared"), takeCache(t, s, "x", "shared")
	if a.ID() != b.ID() {
		t.Error("shared is not shared")
	}
	own := takeCache(t, s, "x", "private")
	if own.ID() == a.ID() {
		t.Error("private shares")
	}
	if other := takeCache(t, s, "y", "shared"); other.ID() == a.ID() {
		t.Error("two IDs share")
	} else {
		noError(t, other.Release(ctx))
	}
	noError(t, own.Release(ctx))
	noError(t, a.Release(ctx))
	noError(t, b.Release(ctx))

	locked := takeCache(t, s, "x", "locked")
	second := takeCache(t, s, "x", "locked") // the copy that private left
	late, cancel := context.WithCancelCause(ctx)
	stop := errors.New("enough waited")
	cancel(stop)
	for _, sharing := range []string{"locked", "shared"} {
		if _, err := s.CacheMount(late, "x", nil, sharing); !errors.Is(err, stop) {
			t.Errorf("%s, while it is locked: got %v", sharing, err)
		}
	}
	noError(t, second.Release(ctx))
	noError(t, locked.Release(ctx))
	if _, err := s.CacheMount(ctx, "x", nil, "often"); err == nil {
		t.Error("unknown sharing is taken")
	}
}

// TestCacheMountTurns: those who lock a cache mount have it one after the other.
func TestCacheMountTurns(t *testing.T) {
	s := newStore(t, "")
	ctx := context.Background()
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := map[string]int{}
	inside := 0
	for range 16 {
		wg.Go(func() {
			c, err := s.CacheMount(ctx, "turns", nil, "locked")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			ids[c.ID()]++
			if inside++; inside > 1 {
				t.Error("two have it")
			}
			mu.Unlock()
			mu.Lock()
			inside--
			mu.Unlock()
			if err := c.Release(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		t.Errorf("got %v", ids)
	}
}

// Who shares is with the others that do, also where another one is free.
func TestCacheMountSharedWithOthers(t *testing.T) {
	s := newStore(t, "")
	ctx := context.Background()
	take := func(sharing string) *store.CacheMount {
		t.Helper()
		c, err := s.CacheMount(ctx, "x", nil, sharing)
		noError(t, err)
		return c
	}
	first, second := take(store.SharingPrivate), take(store.SharingPrivate)
	noError(t, second.Release(ctx))
	a := take(store.SharingShared) // the second
	noError(t, first.Release(ctx))
	b := take(store.SharingShared)
	if a.ID() != b.ID() {
		t.Error("two who share at the same time have different ones")
	}
	noError(t, a.Release(ctx))
	noError(t, b.Release(ctx))
}

// A cache mount that is dropped stays with those who have it, is nobody else's, and
// goes with the last of them. Who waits for it gets a new one.
func TestCacheMountDropped(t *testing.T) {
	testenv.Root(t)
	ctx := context.Background()
	s := openStore(t, store.Options{Root: t.TempDir()})
	defer func() { noError(t, s.Close()) }()
	one := takeCache(t, s, "id", store.SharingLocked)
	based := takeCache(t, s, "id:base", store.SharingShared)
	noError(t, based.Release(ctx))
	other := takeCache(t, s, "idx", store.SharingShared)
	noError(t, other.Release(ctx))
	waited := make(chan *store.CacheMount, 1)
	go func() {
		c, err := s.CacheMount(ctx, "id", nil, store.SharingLocked)
		if err != nil {
			t.Error(err)
		}
		waited <- c
	}()
	noError(t, s.DropCacheMounts(ctx, "id", true))
	two := <-waited
	if two.ID() == one.ID() {
		t.Error("a dropped cache mount is given out again")
	}
	mounted(t, one, false, file(t, "still", "mine"))
	noError(t, one.Release(ctx))
	noError(t, two.Release(ctx))
	left := usageOf(t, s)
	_, kept := left[two.ID()]
	_, alike := left[other.ID()]
	if len(left) != 2 || !kept || !alike {
		t.Errorf("left are %v, want the new one of id, %s, and that of idx, %s", left, two.ID(), other.ID())
	}
	three := takeCache(t, s, "id", store.SharingShared)
	if three.ID() != two.ID() {
		t.Error("the new cache mount is not found again")
	}
	noError(t, three.Release(ctx))
}
