package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/internal/keygraph"
)

// Options are the options of Open. The zero value is good for most uses.
type Options struct {
	// FlushEvery bounds the time for which a write is not on the disk, as long as the
	// disk keeps up. 0 stands for DefaultFlushEvery.
	FlushEvery time.Duration
	// MaxPending is how many bytes may wait for the disk. Writes beyond it are refused
	// with ErrFull, but for Release. 0 stands for DefaultMaxPending.
	MaxPending int
	// Warn is told what goes wrong without a loss: that the file could not be freed of its
	// dead weight. It is called by the goroutine that writes. Nil stands for nobody.
	Warn func(error)

	// disk is for the tests of this package.
	disk disk
	// compactAt replaces minCompact where it is not 0.
	compactAt int64
}

// The defaults of Options. A key with a result and a link takes about 120 bytes.
const (
	DefaultFlushEvery = 50 * time.Millisecond
	DefaultMaxPending = 256 << 20
)

// minCompact is the size of a file below which it is not worth a compaction.
const minCompact = 1 << 20

func (o Options) withDefaults() Options {
	if o.FlushEvery <= 0 {
		o.FlushEvery = DefaultFlushEvery
	}
	if o.MaxPending <= 0 {
		o.MaxPending = DefaultMaxPending
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	if o.disk == nil {
		o.disk = osDisk{}
	}
	if o.compactAt == 0 {
		o.compactAt = minCompact
	}
	return o
}

// storage is what a store takes from package solver.
type storage interface {
	solver.CacheKeyStorage
	solver.MemoryAnswerer
	Graph() *keygraph.Graph
}

// Store is a solver.CacheKeyStorage in a file. Its methods may be called concurrently.
// The package comment says what it promises.
type Store struct {
	storage
	path    string
	opt     Options
	journal *keygraph.Journal
	damage  error

	// changed wakes the writer, hurry has it write at once, stop ends it, and done is
	// closed when it has ended.
	changed, hurry, stop, done chan struct{}
	// dirty says that the writer has been told of a change that it has not taken.
	dirty atomic.Bool

	// writing is held while the file is written or read, before mu.
	writing sync.Mutex
	log     log

	// mu guards what follows.
	mu     sync.Mutex
	closed bool
	// durable is how many of the bytes of the journal are on the disk.
	durable uint64
	// attempts counts the attempts to write that were begun, ended those that have
	// ended, and lastErr is the error of the last.
	attempts, ended uint64
	lastErr         error
	// progress is closed, and made anew, when an attempt ends.
	progress chan struct{}
}

var (
	_ solver.CacheKeyStorage = (*Store)(nil)
	_ solver.MemoryAnswerer  = (*Store)(nil)
)

// Open opens the store in the file path, and makes the file if there is none.
//
// It fails at once, with an error that matches ErrInUse, if the file is open already;
// with ErrForeign if it is another program's, with ErrVersion if it is of a newer
// format, and with ErrCorrupt if even its beginning is damaged, all of them a
// *FileError. It does not change such a file. Of a file that is damaged elsewhere it
// keeps what can be read: see Store.Damage.
func Open(path string, opt Options) (*Store, error) {
	opt = opt.withDefaults()
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(opt.disk, path); err != nil {
			return nil, fmt.Errorf("logstore: %s: %w", path, err)
		}
	}
	f, size, err := openFile(opt.disk, path)
	if err != nil {
		return nil, err
	}
	s := &Store{
		storage: solver.NewInMemoryCacheStorage().(storage), path: path, opt: opt,
		changed: make(chan struct{}, 1), hurry: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}), progress: make(chan struct{}),
	}
	s.journal = newJournal(s.Graph())
	s.journal.Limit, s.journal.Wake = opt.MaxPending, s.wake
	s.log = log{disk: opt.disk, path: path, f: f, size: int64(headSize), compactAt: opt.compactAt}
	if err := s.load(size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	go s.run()
	return s, nil
}

// load reads the file. One that is damaged, or mostly dead weight, is written anew.
func (s *Store) load(size int64) error {
	end, skipped, err := load(s.log.f, size, s.Graph())
	if err != nil {
		return fmt.Errorf("logstore: %s: %w", s.path, err)
	}
	s.log.size, s.log.sequence = end.end, end.sequence
	tail := size - end.end
	if end.lost+tail > 0 || skipped > 0 {
		s.damage = &FileError{
			Path: s.path, Kind: ErrCorrupt, Hint: "the rest of it is used", Torn: end.lost == 0 && skipped == 0,
			Detail: fmt.Sprintf("%d bytes of it could not be read, the last %d among them, and %d records named something that is not there", end.lost+tail, tail, skipped),
		}
	}
	switch {
	case end.lost > 0 || skipped > 0 || s.log.wasteful(s.Graph()):
		n, err := s.log.compact(s.Graph())
		if err != nil {
			return fmt.Errorf("logstore: %s: %w", s.path, err)
		}
		s.journal.Wrote(n)
	case tail > 0:
		if err := errors.Join(s.log.f.Truncate(end.end), s.log.f.Sync()); err != nil {
			return fmt.Errorf("logstore: %s: %w", s.path, err)
		}
	}
	return nil
}

// Path is the file's path as it was given to Open.
func (s *Store) Path() string { return s.path }

// Damage is what Open could not read of the file: an error that matches ErrCorrupt, or
// nil.
func (s *Store) Damage() error { return s.damage }

// create makes an empty store. The file appears under its name when it is complete, so
// that an empty file is never taken for an empty store.
func create(d disk, path string) (err error) {
	f, err := d.create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), d.remove(f.Name())) }()
	if _, err := f.WriteAt(head(version), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// A link, unlike a renaming, does not replace what another has made meanwhile.
	if err := d.link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return d.syncDir(filepath.Dir(path))
}

// openFile opens and locks a file of ours that is there.
func openFile(d disk, path string) (f file, size int64, err error) {
	for {
		if f, err = d.open(path); err != nil {
			return nil, 0, fmt.Errorf("logstore: %w", err)
		}
		fi, err := f.Stat()
		if err == nil && !fi.Mode().IsRegular() {
			err = &FileError{Path: path, Kind: ErrForeign, Detail: "it is no regular file", Hint: "use another path"}
		}
		if err == nil {
			err = lockFile(path, f)
		}
		if err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
		// Whoever had the lock may have put another file in its place.
		if isNamed(f, path) {
			if fi, err = f.Stat(); err == nil {
				err = readHead(path, f)
			}
			if err != nil {
				return nil, 0, errors.Join(err, closeFile(f))
			}
			return f, fi.Size(), nil
		}
		if err := closeFile(f); err != nil {
			return nil, 0, err
		}
	}
}

// isNamed reports whether a path leads to an open file.
func isNamed(f file, path string) bool {
	named, err := os.Stat(path)
	if err != nil {
		return false
	}
	fi, err := f.Stat()
	return err == nil && os.SameFile(named, fi)
}

func lockFile(path string, f file) error {
	free, err := lock(f.Fd())
	switch {
	case err != nil:
		return fmt.Errorf("logstore: %s: %w", path, err)
	case !free:
		return &FileError{
			Path: path, Kind: ErrInUse, Detail: "another process, or another part of this one, holds its lock",
			Hint: "stop what uses it, or use another file",
		}
	}
	return nil
}

// closeFile gives up the lock also for processes that are being started, which have the
// file open until they run their program.
func closeFile(f file) error { return errors.Join(unlock(f.Fd()), f.Close()) }
