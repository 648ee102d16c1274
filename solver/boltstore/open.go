package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/tenonbuild/tenon/solver/boltstore/boltpages"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// The buckets of a file. See the package comment.
var (
	bucketFormat    = []byte("tenon")
	bucketNodes     = []byte("nodes")
	bucketIDs       = []byte("ids")
	bucketLinks     = []byte("links")
	bucketHolders   = []byte("holders")
	bucketResults   = []byte("results")
	bucketBacklinks = []byte("backlinks")

	dataBuckets = [][]byte{bucketNodes, bucketIDs, bucketLinks, bucketHolders, bucketResults, bucketBacklinks}

	keyMagic   = []byte("magic")
	keyVersion = []byte("version")
	keySeed    = []byte("seed")
	keyApplied = []byte("applied")
)

const (
	magic   = "made by Tenon boltstore"
	version = 1

	// lockWait is long enough for one attempt at the lock.
	lockWait = time.Millisecond
	// forkWait is how long a lock is waited for that is ours: a process that this
	// one starts has our open files from when it is forked to when it runs its
	// program, and by that the lock of verify, which bolt gives up by closing.
	forkWait = time.Second
	// minAlloc is the least by which the file grows.
	minAlloc = 64 << 10
	// mapSize is how much of the file is mapped at first. It is address space,
	// not memory, and as long as the file is smaller no reader and writer wait
	// for each other to map it again.
	mapSize = 1 << 30
)

// Open opens the store in the file path, and makes the file if there is none.
//
// It fails at once, with an error that matches ErrInUse, if the file is open
// already; with ErrForeign if it is another program's, with ErrVersion if it is
// of a newer format, and with ErrCorrupt if its pages are damaged, all of them a
// *FileError. It does not change such a file. Open reads the whole file, which
// also brings it into memory. What the records say of each other is left for
// Check and CheckFile to prove.
func Open(path string, opt Options) (*Store, error) {
	opt = opt.withDefaults()
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, fmt.Errorf("boltstore: %s: %w", path, err)
		}
	}
	// What is not ours must not be written to, and bolt writes when it opens.
	if err := verify(path); err != nil {
		return nil, err
	}
	db, file, err := openBolt(path, false)
	if err != nil {
		return nil, err
	}
	s := &Store{
		path: path, opt: opt, db: db, file: file, session: rand.Uint64(),
		kick: make(chan struct{}, 1), stop: make(chan struct{}),
		active: newLayer(nil, 0), progress: make(chan struct{}),
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// load reads the format and the hashes of the nodes.
func (s *Store) load() error {
	seed, err := readFormat(s.path, s.db)
	if err != nil {
		return err
	}
	s.hash = hasher{seed: seed, mask: s.opt.hooks.hashMask}
	return s.view(func(d *disk) error {
		s.known = newFilter(int(d.bucket(nodes).Sequence()) * 5 / 4)
		c := d.bucket(ids).Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			h, _, ok := takeHash(k)
			if !ok {
				return errKey
			}
			s.known.add(h)
		}
		return nil
	})
}

// verify says whether a file is one that can be opened for writing.
func verify(path string) error {
	meta, err := checkHeader(path)
	if err != nil {
		return err
	}
	db, _, err := openBolt(path, true)
	if err != nil {
		return err
	}
	var f faults
	err = checkFile(path, &f)
	if err == nil {
		err = f.err(path)
	}
	if err == nil {
		_, err = readFormat(path, db)
	}
	if err == nil && meta.Freelist == boltpages.NoFreelist {
		// We always write it. Without it bolt walks the file as it opens it, and
		// a fault there ends the process.
		err = corrupt(path, "its list of free pages is missing")
	}
	return errors.Join(err, db.Close())
}

// openBolt opens a bolt file that is there, and turns what bolt makes of a
// damaged one into errors.
func openBolt(path string, readOnly bool) (db *bolt.DB, file *os.File, err error) {
	wait := forkWait // after verify, which has failed if others hold it
	if readOnly {
		wait = lockWait
	}
	opt := &bolt.Options{
		Timeout:      wait,
		ReadOnly:     readOnly,
		NoStatistics: true,
		FreelistType: bolt.FreelistMapType,
		OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
			var err error
			file, err = os.OpenFile(name, flag&^os.O_CREATE, perm)
			return file, err
		},
	}
	if !readOnly && runtime.GOOS != "windows" && strconv.IntSize == 64 {
		opt.InitialMmapSize = mapSize
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			// Closing the file gives up the lock.
			db, err = nil, errors.Join(corrupt(path, "bolt panicked: %v", v), file.Close())
		}
	}()
	db, err = bolt.Open(path, 0o600, opt)
	switch {
	case err == nil:
		return db, file, nil
	case errors.Is(err, berrors.ErrTimeout):
		return nil, nil, &FileError{
			Path: path, Kind: ErrInUse,
			Detail: "another process, or another part of this one, holds its lock",
			Hint:   "stop what uses it, or use another file",
		}
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, nil, corrupt(path, "%v", err)
	}
	return nil, nil, fmt.Errorf("boltstore: %s: %w", path, err)
}

// readFormat says whether the file is one of ours that this version can use,
// and returns its seed.
func readFormat(path string, db *bolt.DB) (seed uint64, err error) {
	err = guard(path, func() error {
		return db.View(func(tx *bolt.Tx) error {
			b := tx.Bucket(bucketFormat)
			if b == nil || string(b.Get(keyMagic)) != magic {
				return &FileError{
					Path: path, Kind: ErrForeign,
					Detail: "it is a bolt file that does not say it was " + magic,
					Hint:   "use another path",
				}
			}
			v, s := b.Get(keyVersion), b.Get(keySeed)
			if len(v) != 4 || len(s) != 8 {
				return corrupt(path, "the format's version or seed is missing")
			}
			if got := binary.BigEndian.Uint32(v); got != version {
				return &FileError{
					Path: path, Kind: ErrVersion,
					Detail: fmt.Sprintf("it has format %d, this program knows format %d", got, version),
					Hint:   "use the program that made it, or another path",
				}
			}
			for _, name := range dataBuckets {
				if tx.Bucket(name) == nil {
					return corrupt(path, "bucket %q is missing", name)
				}
			}
			seed = binary.BigEndian.Uint64(s)
			return nil
		})
	})
	return seed, err
}

// guard runs fn, and turns a panic, or a fault in the mapped file, into an
// error that says that the file is damaged.
func guard(path string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = corrupt(path, "%v", v)
		}
	}()
	return fn()
}

// create makes an empty store. The file appears under its name when it is
// complete, so that an empty file is never taken for an empty store.
func create(path string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	temp := f.Name()
	defer func() { err = errors.Join(err, os.Remove(temp)) }()
	if err := f.Close(); err != nil {
		return err
	}
	db, err := bolt.Open(temp, 0o600, &bolt.Options{Timeout: lockWait, NoStatistics: true})
	if err != nil {
		return err
	}
	if err := errors.Join(db.Update(initFormat), db.Close()); err != nil {
		return err
	}
	// A link, unlike a renaming, does not replace what another has made meanwhile.
	if err := os.Link(temp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func initFormat(tx *bolt.Tx) error {
	b, err := tx.CreateBucket(bucketFormat)
	if err != nil {
		return err
	}
	for _, name := range dataBuckets {
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return errors.Join(
		b.Put(keyMagic, []byte(magic)),
		b.Put(keyVersion, binary.BigEndian.AppendUint32(nil, version)),
		b.Put(keySeed, binary.BigEndian.AppendUint64(nil, rand.Uint64())),
	)
}

// syncDir makes a new name in a folder last.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// checkHeader looks at a file before bolt does, which trusts it in places.
func checkHeader(path string) (boltpages.Meta, error) {
	f, err := os.Open(path)
	if err != nil {
		return boltpages.Meta{}, fmt.Errorf("boltstore: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return boltpages.Meta{}, fmt.Errorf("boltstore: %w", err)
	}
	meta, err := boltpages.ReadMeta(f, info.Size())
	return meta, pagesError(path, err)
}

// pagesError says of an error of boltpages which file it is about.
func pagesError(path string, err error) error {
	var damage *boltpages.Damage
	switch {
	case err == nil:
		return nil
	case errors.As(err, &damage):
		return corrupt(path, "%s", damage.Detail)
	}
	return fmt.Errorf("boltstore: %s: %w", path, err)
}
