package boltstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenonbuild/tenon/solver"
	bolt "go.etcd.io/bbolt"
)

// Options are the options of Open. The zero value is good for most uses.
type Options struct {
	// FlushEvery bounds the time for which a write is not on the disk, as long as
	// the disk keeps up. 0 stands for DefaultFlushEvery.
	FlushEvery time.Duration
	// FlushSize is how many changes are collected before they are written
	// without waiting any longer. 0 stands for DefaultFlushSize.
	FlushSize int
	// MaxPending is how many changes may wait for the disk. Writes beyond it are
	// dropped with ErrFull, but for Release. 0 stands for DefaultMaxPending.
	MaxPending int

	// hooks is for the tests of this package.
	hooks hooks
}

// The defaults of Options. A node with a result and a link is three changes, and
// takes some 700 bytes of memory while it waits.
const (
	DefaultFlushEvery = 50 * time.Millisecond
	DefaultFlushSize  = 1 << 17
	DefaultMaxPending = 1 << 21
)

// hooks are where a test can make a disk fail.
type hooks struct {
	// beforeCommit and afterCommit run around the commit of a bolt transaction. An
	// error of theirs is taken for one of the commit's.
	beforeCommit, afterCommit func() error
	// hashMask replaces the mask of the hasher where it is not 0.
	hashMask uint64
}

func (o Options) withDefaults() Options {
	if o.FlushEvery <= 0 {
		o.FlushEvery = DefaultFlushEvery
	}
	if o.FlushSize <= 0 {
		o.FlushSize = DefaultFlushSize
	}
	if o.MaxPending <= 0 {
		o.MaxPending = DefaultMaxPending
	}
	if o.hooks.hashMask == 0 {
		o.hooks.hashMask = ^uint64(0)
	}
	return o
}

// Store is a solver.CacheKeyStorage in a file. Its methods may be called
// concurrently. The package comment says what it promises.
type Store struct {
	path string
	opt  Options
	db   *bolt.DB
	file *os.File // is db's
	hash hasher
	// session tells this opening of the file from others.
	session uint64

	// runner is the goroutine that flushes, while there is something to flush.
	runner sync.WaitGroup
	// kick wakes the runner early.
	kick chan struct{}
	// stop ends the runner.
	stop chan struct{}

	// commitMu is held while a bolt transaction writes, and while the file is
	// checked. It is taken before mu.
	commitMu sync.Mutex
	// broken is why the file is not written any more. Guarded by commitMu.
	broken error
	// stuck says that bolt's locks are held for ever. Guarded by commitMu.
	stuck bool

	// readFault is the first fault that a read has met and nobody was told of.
	readFault atomic.Pointer[error]

	// mu guards what follows. It is held for reading over the whole of a look-up,
	// so that the layers and the file fit together. It is never held during a
	// commit nor during a callback.
	mu sync.RWMutex
	// active takes the writes.
	active *layer
	// frozen is being committed, or waits for the next attempt; nil if neither.
	frozen *layer
	// known has every node there is or has been.
	known filter
	// within is the transaction of the Release that goes on; nil otherwise.
	within *disk
	// scans remember how far Release has looked.
	scans map[scanKey][]byte
	// closed is set when Close begins.
	closed bool
	// running says that there is a runner.
	running bool
	// written counts the writes. Those up to durable are on the disk.
	written, durable uint64
	// attempts counts the commits that were begun, ended is the number of the
	// last one that ended, and lastErr its error.
	attempts, ended uint64
	lastErr         error
	// progress is closed, and made anew, when an attempt ends.
	progress chan struct{}
}

var (
	_ solver.CacheKeyStorage = (*Store)(nil)
	_ solver.MemoryAnswerer  = (*Store)(nil)
)

// AnswersFromMemory implements solver.MemoryAnswerer: no look-up waits for a
// commit, and what is looked up is memory or the page cache's.
func (s *Store) AnswersFromMemory() bool { return true }

// Path is the file's path as it was given to Open.
func (s *Store) Path() string { return s.path }

// AddResult implements solver.CacheKeyStorage. It returns ErrFull if the write
// was dropped, and ErrClosed.
func (s *Store) AddResult(id string, res solver.CacheResult) error {
	if id == "" {
		return errNoID
	}
	h := s.hash.name(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(); err != nil {
		return err
	}
	s.active.addResult(s.touch(h, id), res)
	s.wrote()
	return nil
}

// AddLink implements solver.CacheKeyStorage. It returns ErrFull if the write was
// dropped, and ErrClosed.
func (s *Store) AddLink(id string, link solver.CacheInfoLink, target string) error {
	if id == "" || target == "" {
		return errNoID
	}
	hs, ht := s.hash.name(id), s.hash.name(target)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.admit(); err != nil {
		return err
	}
	src := s.touch(hs, id)
	s.active.addLink(src, link, s.touch(ht, target))
	s.wrote()
	return nil
}

var errNoID = errors.New("boltstore: the ID of a node is empty")

// admit says whether there is room for one more write. mu is held.
func (s *Store) admit() error {
	if s.closed {
		return ErrClosed
	}
	if s.pending() < s.opt.MaxPending {
		return nil
	}
	if s.lastErr != nil {
		return fmt.Errorf("boltstore: %s: %w, which fails: %w", s.path, ErrFull, s.lastErr)
	}
	return fmt.Errorf("boltstore: %s: %w, which is slower than the writers", s.path, ErrFull)
}

func (s *Store) pending() int {
	n := s.active.size
	if s.frozen != nil {
		n += s.frozen.size
	}
	return n
}

// touch returns a node of the active layer, which then exists. mu is held.
func (s *Store) touch(h uint64, id string) *pnode {
	p := s.active.find(h, id)
	if p == nil {
		p = s.active.add(h, id)
		p.fresh = s.known.add(h)
	}
	p.live = true
	return p
}

// wrote counts a write, and sees to it that it gets to the disk. mu is held.
func (s *Store) wrote() {
	s.written++
	s.run()
	if s.active.size >= s.opt.FlushSize && s.frozen == nil {
		s.wake()
	}
}

// Sync waits until everything that was written before it is on the disk. It
// returns why that failed: what could not be written is kept and tried again,
// at the latest by the next Sync. It also reports a fault that a look-up, which
// has no way of its own to say so, has met in the file since the last Sync.
// If ctx ends first, Sync returns its error and the writing goes on.
func (s *Store) Sync(ctx context.Context) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return s.sync(ctx)
}

func (s *Store) sync(ctx context.Context) error {
	s.mu.Lock()
	target, before := s.written, s.attempts
	for s.durable < target {
		if s.ended > before && s.lastErr != nil {
			err := s.lastErr
			s.mu.Unlock()
			return fmt.Errorf("boltstore: %s: %w", s.path, err)
		}
		s.run()
		s.wake()
		progress := s.progress
		s.mu.Unlock()
		select {
		case <-progress:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
	if fault := s.readFault.Swap(nil); fault != nil {
		return *fault
	}
	return nil
}

// Close writes what is pending, and closes the file. It returns the error of
// the last attempt if what is pending could not be written: it is lost then.
// Closing again does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	err := s.sync(context.Background())
	close(s.stop)
	s.runner.Wait()
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if s.stuck {
		return errors.Join(err, s.file.Close())
	}
	return errors.Join(err, s.db.Close())
}
