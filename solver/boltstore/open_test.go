package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/boltstore/boltpages"
	"github.com/tenonbuild/tenon/solver/solvertest"
	bolt "go.etcd.io/bbolt"
)

// wantFileError opens a file that cannot be opened, and makes sure that it is
// told why, and left as it is.
func wantFileError(t *testing.T, path string, kind error, says string) {
	t.Helper()
	before, err := os.ReadFile(path)
	must(t, err)
	for _, open := range []func() error{
		func() error {
			s, err := Open(path, Options{})
			if err == nil {
				must(t, s.Close())
			}
			return err
		},
		func() error { return CheckFile(path) },
	} {
		err := open()
		var fileErr *FileError
		if !errors.Is(err, kind) || !errors.As(err, &fileErr) || fileErr.Path != path || fileErr.Hint == "" {
			t.Errorf("got %v, want a FileError that is %v", err, kind)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%q does not say %q", err, says)
		}
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
}

func TestOpenTwice(t *testing.T) {
	path := storePath(t)
	s := openTest(t, path, Options{})
	wantFileError(t, path, ErrInUse, path)
	must(t, s.AddResult("a", res("r")))
	must(t, s.Close())
	s = openTest(t, path, Options{})
	if !s.Exists("a") {
		t.Error("the failed opening did harm")
	}
}

// makeBolt makes a bolt file.
func makeBolt(t *testing.T, opt *bolt.Options, fn func(tx *bolt.Tx) error) string {
	t.Helper()
	path := storePath(t)
	db, err := bolt.Open(path, 0o600, opt)
	must(t, err)
	must(t, db.Update(fn))
	must(t, db.Close())
	return path
}

func TestOpenForeign(t *testing.T) {
	someBucket := func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("v1"))
		if err != nil {
			return err
		}
		return b.Put([]byte("key"), []byte("value"))
	}
	for name, opt := range map[string]*bolt.Options{
		"Usual": nil, "NoFreelist": {NoFreelistSync: true}, "LargePages": {PageSize: 1 << 16},
	} {
		t.Run(name, func(t *testing.T) {
			wantFileError(t, makeBolt(t, opt, someBucket), ErrForeign, "another program")
		})
	}
	t.Run("Empty", func(t *testing.T) {
		path := makeBolt(t, nil, func(*bolt.Tx) error { return nil })
		wantFileError(t, path, ErrForeign, "another program")
	})
}

func TestOpenOtherVersion(t *testing.T) {
	path := makeBolt(t, nil, func(tx *bolt.Tx) error {
		if err := initFormat(tx); err != nil {
			return err
		}
		return tx.Bucket(bucketFormat).Put(keyVersion, binary.BigEndian.AppendUint32(nil, version+1))
	})
	wantFileError(t, path, ErrVersion, "format 2")
}

func TestOpenIncomplete(t *testing.T) {
	for name, change := range map[string]func(tx *bolt.Tx) error{
		"NoSeed":    func(tx *bolt.Tx) error { return tx.Bucket(bucketFormat).Delete(keySeed) },
		"NoVersion": func(tx *bolt.Tx) error { return tx.Bucket(bucketFormat).Delete(keyVersion) },
		"NoLinks":   func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketLinks) },
	} {
		t.Run(name, func(t *testing.T) {
			path := makeBolt(t, nil, func(tx *bolt.Tx) error { return errors.Join(initFormat(tx), change(tx)) })
			wantFileError(t, path, ErrCorrupt, "missing")
		})
	}
	t.Run("NoFreelist", func(t *testing.T) {
		path := makeBolt(t, &bolt.Options{NoFreelistSync: true}, initFormat)
		if _, err := Open(path, Options{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("got %v, want ErrCorrupt", err)
		}
	})
}

// smallFile returns the content of a file with a bit of everything, and what
// should be in it.
func smallFile(t testing.TB) ([]byte, *solvertest.StorageModel) {
	t.Helper()
	path, model := storePath(t), solvertest.NewStorageModel()
	s := openTest(t, path, Options{})
	rng := rand.New(rand.NewPCG(1, 1))
	for range 4 {
		for range 50 {
			both(t, s, model, solvertest.RandomStorageOp(rng, 100))
		}
		must(t, s.Sync(t.Context()))
	}
	must(t, s.Close())
	content, err := os.ReadFile(path)
	must(t, err)
	return content, model
}

func TestOpenNoBolt(t *testing.T) {
	content, _ := smallFile(t)
	zeroed := bytes.Clone(content)
	clear(zeroed[:2*os.Getpagesize()])
	for name, b := range map[string][]byte{
		"Empty": {}, "Text": []byte("not a bolt file\n"), "Zeros": make([]byte, 1<<16), "NoMeta": zeroed,
		"Sqlite": append([]byte("SQLite format 3\x00"), make([]byte, 1<<14)...),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "cache.db")
			must(t, os.WriteFile(path, b, 0o600))
			wantFileError(t, path, ErrCorrupt, "move it away")
		})
	}
}

func TestOpenTruncated(t *testing.T) {
	content, _ := smallFile(t)
	meta, err := boltpages.ReadMeta(bytes.NewReader(content), int64(len(content)))
	must(t, err)
	used := int(meta.End * meta.PageSize)
	path := storePath(t)
	for size := 0; size < used; size += 512 {
		must(t, os.WriteFile(path, content[:size], 0o600))
		if _, err := Open(path, Options{}); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d of %d bytes: got %v, want ErrCorrupt", size, used, err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("a folder was opened")
	}
	if _, err := Open(filepath.Join(dir, "none", "cache.db"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the folder is missing", err)
	}
	if err := CheckFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the file is missing", err)
	}
	s := openTest(t, filepath.Join(dir, "cache.db"), Options{})
	must(t, s.Close())
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 1 {
		t.Errorf("creation leaves %v", left)
	}
}

// TestDamage changes single bytes of a file: whatever that does, it is an error
// or it is harmless, and never a panic.
func TestDamage(t *testing.T) {
	content, _ := smallFile(t)
	rng := rand.New(rand.NewPCG(7, 7))
	path := storePath(t)
	found, rounds := 0, 600
	if testing.Short() {
		rounds = 60
	}
	for range rounds {
		b := bytes.Clone(content)
		at := rng.IntN(len(b))
		b[at] ^= 1 << rng.IntN(8)
		if rng.IntN(2) == 0 {
			b[at] = byte(rng.Uint32())
		}
		must(t, os.WriteFile(path, b, 0o600))
		err := CheckFile(path)
		if err != nil {
			found++
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrVersion) {
				t.Fatalf("byte %d: %v", at, err)
			}
		}
		useDamaged(t, path, err == nil)
	}
	if found < rounds/20 {
		t.Errorf("the check found %d of %d damages", found, rounds)
	}
	must(t, os.WriteFile(path, content, 0o600))
	must(t, CheckFile(path))
}

// useDamaged does everything to a file that may be damaged.
func useDamaged(t *testing.T, path string, sound bool) {
	t.Helper()
	s, err := Open(path, Options{})
	if err != nil {
		if sound {
			t.Fatalf("a file that is sound does not open: %v", err)
		}
		return
	}
	_ = s.Walk(func(id string) error {
		_ = s.AddLink(id, link("op"), "new")
		return s.WalkResults(id, func(res solver.CacheResult) error { return s.Release(res.ID) })
	})
	syncErr := s.Sync(t.Context())
	if err := errors.Join(syncErr, s.Close()); err != nil && !errors.Is(err, ErrCorrupt) {
		t.Fatalf("got %v, want ErrCorrupt", err)
	}
}
