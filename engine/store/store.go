// Package store keeps what the engine makes, under one root: trees of files as
// snapshots, layers and images as content, and the caches' keys and records. One
// process owns a root at a time.
//
// # What is in a root
//
//	lock         held by the owner, and says who that is
//	version      the layout's number, and which snapshotter
//	content      containerd's content store: blobs by digest
//	overlayfs    or native: containerd's snapshotter
//	metadata.db  containerd's metadata, with our records beside it: see disk.go
//	cache.db     the keys of the cache: logstore
//	mounts       what is mounted: see MountLocal
//	state        of the engine's other parts: see Store.Path
//
// # Records and refs
//
// A record is a tree. It is on the disk from the moment it is complete, together
// with a lease of its ID, which keeps its snapshot and its blobs. A Ref is a
// handle of a record in this process; it is not on the disk. A record is in use
// while it has a handle, or a record that has one is made of it. What is not in use
// stays until Prune takes it, the least recently used first, and never one that
// others are made of. So does what the engine's other parts keep for later: see Kept.
//
// The cache's results are records: see Store.Results. So saving one costs nothing,
// and a key without its record is a miss.
//
// What was being written when a process died is not a record. Open removes it.
//
// # Damage
//
// Open looks at the pages of metadata.db and of the snapshotter's file before anybody
// maps them. Of one that is damaged it makes a new one of what can be read, and puts the
// damaged one aside, as NAME.damaged-TIME, where Du and Prune find it; so it does with
// what is in the place of a directory and is none. Then it makes the
// files and the disk agree: what a record needs and is not there makes it none, unless it
// can be made or fetched again; what nobody refers to is removed. Damaged keys of the
// cache are put aside, and the cache begins anew. Records and values have checksums.
// Blobs are held against their digests when they are read as a whole: see Content.
//
// # What lasts
//
// A record that was committed survives the death of the process at any instant. Of a
// machine that loses its power the files metadata.db, cache.db and version, the
// snapshotter's file and blobs survive, with their names, as far as the disk keeps what it
// has acknowledged: each is synced before anything refers to it, cache.db within 50 ms and
// at Close. TestPowerCut holds it against what a disk may lose. A root that is being made or
// mended says so in version, and the next process begins that anew. The trees are not
// synced, as with other builders: those of the last half minute may be missing, which is a
// miss, or have files that are empty or short. Prune what was built then, or build it with
// --no-cache.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/gofrs/flock"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/logstore"
	bolt "go.etcd.io/bbolt"
)

// Options are where and how a Store is opened.
type Options struct {
	// Root is the directory. It is made, if there is none.
	Root string
	// Snapshotter is "overlayfs", "native", or "" for what the root uses already,
	// and else the first that works there.
	Snapshotter string
	// GC says what is removed by itself: see Store.GC.
	GC func(root string) (Collecting, error)
	// NoWait returns a *LockedError at once if another process has the root.
	NoWait bool
	// Waiting is called once before waiting for another process. Owner says for
	// which, in words.
	Waiting func(owner string)
	// Removed, if not nil, is told which results of the cache were removed by Prune or GC, after
	// that is done and before they return, one call at a time.
	Removed func(Removal)
	// Notice is told, for people, what was damaged and what became of it, as long as the
	// store is open. One call is made at a time, from any goroutine.
	Notice func(text string)
}

// Store is an open root. Its methods may be called concurrently.
type Store struct {
	root  string
	mark  rootMark
	lock  *flock.Flock
	back  *backend
	keys  *logstore.Store
	index *index
	tell  func(string) // Options.Notice, or nothing
	// removed is Options.Removed, removing is held while it is called.
	removed  func(Removal)
	removing sync.Mutex
	// shared are mounts of cache mounts.
	shared *sharedMounts
	// run is the lease of what this process needs, such as views, and no record
	// holds. The next Open deletes it, if Close does not.
	run string

	// kept is what components keep beside records.
	kept keptParts

	// trees dedupes the making of a record's snapshot, known that of its content's digest,
	// forms that of its blobs, fetches that of a blob's download.
	trees   flights[string]
	known   flights[digest.Digest]
	forms   flights[blob]
	fetches flights[struct{}]

	// chains is held while records are made whose IDs follow from what they are, or
	// that are held only after they were made, and while records are removed: so that
	// none comes back half-way, or goes before it is held.
	chains sync.Mutex
	// gc is what GC does, which holds capping.
	gc      Collecting
	capping sync.Mutex
	// tagging is held while names of images change, so that none is lost.
	tagging sync.Mutex
	// gate is held for writing while containerd collects garbage, and for reading
	// while there is a transaction of ours: a snapshot that is made in one is
	// unknown until it is committed, and would be collected.
	gate sync.RWMutex
	// garbage counts what was given up since the last collection, which collecting
	// is held for.
	garbage    atomic.Int64
	collecting sync.Mutex
}

// Open opens a root, waiting for another process that has it. What a process that
// died has left half-made is removed. Close gives the root back.
//
// Errors: *LockedError; a directory that is not a root and not empty; a root
// written by a newer version; no permission.
func Open(ctx context.Context, opt Options) (_ *Store, err error) {
	if opt.Root == "" {
		return nil, errors.New("store: no root is given")
	}
	if opt.Root, err = filepath.Abs(opt.Root); err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	if err := os.MkdirAll(opt.Root, 0o700); err != nil {
		return nil, fmt.Errorf("root %s: %w", opt.Root, rootError(opt.Root, err))
	}
	// Looked at before the lock, too, so that nothing is written into a directory
	// that is something else.
	if _, err := checkRoot(opt.Root); err != nil {
		return nil, err
	}
	s := &Store{root: opt.Root, index: newIndex(), run: "run-" + identity.NewID(), tell: func(string) {}, removed: opt.Removed}
	if opt.Notice != nil {
		var one sync.Mutex
		s.tell = func(text string) {
			one.Lock()
			defer one.Unlock()
			opt.Notice(text)
		}
	}
	if s.lock, err = takeLock(ctx, opt); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeFiles())
		}
	}()
	if err := s.start(ctx, opt); err != nil {
		return nil, err
	}
	s.Register("damaged", damagedFiles{s.root})
	return s, nil
}

// start opens the parts, and cleans up. A panic is damage that nobody has thought of.
func (s *Store) start(ctx context.Context, opt Options) (err error) {
	defer func() {
		if v := recover(); v != nil {
			// They are not closed: what has panicked may hold their locks.
			s.back, s.keys = nil, nil
			err = fmt.Errorf("root %s cannot be opened, since a file in it is damaged (%v): move %s away, or choose another root", s.root, v, s.root)
		}
	}()
	mended, err := s.openParts(ctx, opt)
	if err != nil {
		return err
	}
	if opt.GC != nil {
		if s.gc, err = opt.GC(s.root); err != nil {
			return fmt.Errorf("root %s: what is removed by itself: %w", s.root, err)
		}
	}
	if err := s.recover(s.Context(ctx), mended); err != nil {
		return fmt.Errorf("root %s: cleaning up: %w", s.root, err)
	}
	return s.finish()
}

// openParts opens what is in the root, after it was mended.
func (s *Store) openParts(ctx context.Context, opt Options) (_ *mender, err error) {
	if err := s.openRoot(opt); err != nil {
		return nil, err
	}
	if err := unmountStale(s.root); err != nil {
		return nil, fmt.Errorf("root %s: what a process that died has left: %w", s.root, err)
	}
	if s.shared, err = openSharedMounts(filepath.Join(s.root, mountsDir)); err != nil {
		return nil, fmt.Errorf("root %s: what a process that died has left: %w", s.root, rootError(s.root, err))
	}
	m := &mender{root: s.root, snapshotter: s.mark.Snapshotter, tell: s.tell, begin: s.begin, changed: s.mark.Unfinished}
	if err := m.run(); err != nil {
		return nil, fmt.Errorf("root %s: %w", s.root, rootError(s.root, err))
	}
	if s.back, err = openBackend(ctx, s.root, s.mark.Snapshotter, s.tell); err != nil {
		return nil, fmt.Errorf("root %s: %w", s.root, rootError(s.root, err))
	}
	if err := s.openKeys(); err != nil {
		return nil, fmt.Errorf("root %s: keys of the cache: %w", s.root, rootError(s.root, err))
	}
	return m, nil
}

// openRoot makes the directory a root, if it is none, and says which snapshotter it uses.
func (s *Store) openRoot(opt Options) (err error) {
	if s.mark, err = checkRoot(s.root); err != nil {
		return err
	}
	if s.mark.Tenon != 0 && !s.mark.lost && s.mark.Snapshotter != overlayName && s.mark.Snapshotter != nativeName {
		return fmt.Errorf("root %s: snapshotter %q: there are %s and %s", s.root, s.mark.Snapshotter, overlayName, nativeName)
	}
	if s.mark.Tenon == 0 {
		// The lock lasts before anything else does: by that the root is known to be one.
		if err := syncDir(s.root); err != nil {
			return fmt.Errorf("root %s: %w", s.root, rootError(s.root, err))
		}
		s.mark.Tenon = rootVersion
		if s.mark.Snapshotter, err = pickSnapshotter(s.root, opt.Snapshotter); err != nil {
			return err
		}
		if err := s.begin(); err != nil {
			return err
		}
	}
	if s.mark.lost {
		if err := errors.Join(s.markAside(), s.begin()); err != nil {
			return err
		}
	}
	if err := mendFolders(s.root, s.mark.Snapshotter, s.tell); err != nil {
		return fmt.Errorf("root %s: %w", s.root, rootError(s.root, err))
	}
	for _, dir := range []string{filepath.Join(contentDir, "blobs", "sha256"), filepath.Join(s.mark.Snapshotter, "snapshots")} {
		if _, err := os.Lstat(filepath.Join(s.root, dir)); errors.Is(err, fs.ErrNotExist) {
			if err := s.begin(); err != nil { // the names of what is made again are to last
				return err
			}
		}
	}
	if err := makePrivate(s.Path(), filepath.Join(s.root, contentDir)); err != nil {
		return fmt.Errorf("root %s: %w", s.root, rootError(s.root, err))
	}
	if opt.Snapshotter != "" && opt.Snapshotter != s.mark.Snapshotter {
		return fmt.Errorf("root %s uses the snapshotter %s, not %s: choose another root for that", s.root, s.mark.Snapshotter, opt.Snapshotter)
	}
	return nil
}

// collectIfWorthIt collects garbage when there is much of it for what there is: a
// collection looks at everything, and so its cost is spread over what was given up.
func (s *Store) collectIfWorthIt(ctx context.Context) error {
	s.index.mu.Lock()
	known := len(s.index.records)
	s.index.mu.Unlock()
	if s.garbage.Load() < max(16, int64(known)/4) {
		return nil
	}
	return s.collectGarbage(ctx)
}

// collectGarbage removes what no lease and no image holds, and frees its room, if
// anything was given up since that was done last. It looks at everything once.
func (s *Store) collectGarbage(ctx context.Context) (err error) {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	n := s.garbage.Load()
	if n == 0 {
		return nil
	}
	if ctx.Err() != nil { // containerd does not always see that
		return context.Cause(ctx)
	}
	s.garbage.Add(-n)
	defer func() {
		if err != nil {
			s.garbage.Add(n) // it is still there for the next, Close at the latest
		}
	}()
	s.gate.Lock()
	_, err = s.back.meta.GarbageCollect(ctx)
	s.gate.Unlock()
	if err != nil {
		return fmt.Errorf("garbage collection: %w", err)
	}
	return s.back.cleanup(ctx)
}

// Close gives the root back. Handles that are still there must not be used any
// more; their records stay.
func (s *Store) Close() error {
	ctx := s.Context(context.Background())
	err := s.update(ctx, func(ctx context.Context, _ *bolt.Bucket) error {
		err := s.back.leases.Delete(ctx, leases.Lease{ID: s.run})
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	})
	if err := errors.Join(err, s.collectGarbage(ctx), s.closeFiles()); err != nil {
		return fmt.Errorf("root %s: %w", s.root, err)
	}
	return nil
}

func (s *Store) closeFiles() error {
	var errs []error
	if s.keys != nil {
		errs = append(errs, s.closeKeys())
	}
	if s.back != nil {
		errs = append(errs, s.back.close())
	}
	return errors.Join(append(errs, s.lock.Unlock())...)
}

// Context adds containerd's namespace to a context. It is needed by whoever passes
// one to a part of containerd that is not from this store: Content and Images
// add it themselves.
func (s *Store) Context(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, namespace)
}

// Content is the content store. Blobs that are gone from the disk, or cut short, are not
// found; reading one in order that has other bytes ends with ErrDamagedBlob, and then it
// is gone. What is written there stays while it is held: by
// a lease (WithLease), or by an image of Images, directly or by the labels
// "containerd.io/gc.ref.content.*" of content that is held. Its Delete is an error:
// what nobody holds is removed by Prune.
func (s *Store) Content() content.Store { return s.back.content }

// Images is the image store. An image holds its target: see Content.
func (s *Store) Images() images.Store { return s.back.images }

// WithLease returns a context by which what is written to Content is held until
// release is called: by then it should be held by something else. Whoever calls
// it releases it, once. It ends with the process at the latest.
func (s *Store) WithLease(ctx context.Context) (_ context.Context, release func(context.Context) error, _ error) {
	ctx = s.Context(ctx)
	l, err := s.back.leases.Create(ctx, leases.WithID("tmp-"+identity.NewID()))
	if err != nil {
		return nil, nil, fmt.Errorf("lease: %w", err)
	}
	release = func(ctx context.Context) error {
		if err := s.back.leases.Delete(s.Context(context.WithoutCancel(ctx)), l); err != nil {
			return fmt.Errorf("lease: %w", err)
		}
		return nil
	}
	return leases.WithLease(ctx, l.ID), release, nil
}

// CacheKeys is the key storage of the cache whose results are Results.
func (s *Store) CacheKeys() solver.CacheKeyStorage { return s.keys }

// Root is the folder that the store was opened on. Nobody else writes there.
func (s *Store) Root() string { return s.root }

// Path returns the path of a component's own state below the root. It does not
// make it. What takes room there, and stays, is to be made known: see Register.
func (s *Store) Path(name ...string) string {
	return filepath.Join(append([]string{s.root, stateDir}, name...)...)
}

// Snapshotter names what keeps the trees: "overlayfs" or "native".
func (s *Store) Snapshotter() string { return s.back.name }
