// Package filestore keeps results in files: a solver.CacheResultStorage for results that
// can be written as bytes. Beside logstore, which keeps cache keys, it makes a cache that
// outlives the process:
//
//	keys, err := logstore.Open("cache/keys.db", logstore.Options{})
//	results, err := filestore.NewResultStorage("cache/results", encode, decode)
//	cache := solver.NewCacheManager("local", keys, results)
//
// # What it promises
//
// A result is a file that is named by a digest of its bytes. So a file is never changed,
// equal results are one file, no name leads out of the directory, and what is read is
// checked against its name.
//
// What Save has returned survives the death of the process at any instant, and of the
// machine as far as the disk keeps what it has acknowledged. Save waits for the disk.
//
// A file that is missing or damaged is ErrNotFound: the solver forgets the record and runs
// the op, and the next Save writes the file anew. So any file may be removed at any time:
// that is how to make room. Nothing is removed otherwise.
//
// Methods may be called concurrently, and several processes may use one directory.
package filestore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/tenonbuild/tenon/solver"
)

// ResultStorage is a solver.CacheResultStorage on files. The package comment says what it
// promises.
type ResultStorage struct {
	dir    string
	encode func(solver.Result) ([]byte, error)
	decode func([]byte) (solver.Result, error)
}

var _ solver.CacheResultStorage = (*ResultStorage)(nil)

// tempPrefix begins the names of files that are not complete.
const tempPrefix = "new-"

// abandoned is the age at which such a file belongs to nobody any more.
const abandoned = time.Hour

// NewResultStorage returns a storage in the directory dir, which it makes if there is
// none; the directory above must exist. It removes what a process that was killed left
// unfinished an hour ago or earlier.
//
// encode writes a result as bytes. It borrows the result. decode makes a result of these
// bytes, which it may keep. The results that it makes follow the rule for Result.ID, too.
// Both may be called concurrently.
func NewResultStorage(dir string, encode func(solver.Result) ([]byte, error), decode func([]byte) (solver.Result, error)) (*ResultStorage, error) {
	if encode == nil || decode == nil {
		return nil, errors.New("filestore: encode and decode are required")
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("filestore: %w", err)
	}
	// Whoever made the directory may have been killed before it did this. Who may not read
	// the one above has not made it.
	if err := syncDir(filepath.Dir(filepath.Clean(dir))); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("filestore: %w", err)
	}
	s := &ResultStorage{dir: dir, encode: encode, decode: decode}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("filestore: %w", err)
	}
	return s, nil
}

// sweep removes abandoned files.
func (s *ResultStorage) sweep() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		// Another process may be sweeping, too.
		fi, err := e.Info()
		if err == nil && fi.Mode().IsRegular() && time.Since(fi.ModTime()) >= abandoned {
			err = os.Remove(filepath.Join(s.dir, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Save implements solver.CacheResultStorage. It writes the file also where there is one,
// which may be damaged.
func (s *ResultStorage) Save(r solver.Result) (solver.CacheResult, error) {
	data, err := s.encode(r)
	if err != nil {
		return solver.CacheResult{}, err
	}
	id := idOf(data)
	if err := s.write(filepath.Join(s.dir, id), data); err != nil {
		return solver.CacheResult{}, fmt.Errorf("filestore: %w", err)
	}
	return solver.CacheResult{ID: id, CreatedAt: time.Now()}, nil
}

// write makes a file appear complete, and last.
func (s *ResultStorage) write(path string, data []byte) (err error) {
	f, err := os.CreateTemp(s.dir, tempPrefix)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(s.dir)
}

// Load implements solver.CacheResultStorage.
func (s *ResultStorage) Load(ctx context.Context, res solver.CacheResult) (solver.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, err := s.read(res.ID)
	if err != nil {
		return nil, err
	}
	r, err := s.decode(data)
	if err != nil {
		return nil, fmt.Errorf("filestore: %s: %w", filepath.Join(s.dir, res.ID), err)
	}
	return r, nil
}

// LoadRemote implements solver.CacheResultStorage: nothing is transferable as it is.
func (s *ResultStorage) LoadRemote(_ context.Context, res solver.CacheResult) (*solver.Remote, error) {
	if !s.Exists(res.ID) {
		return nil, solver.ErrNotFound
	}
	return nil, nil
}

// Exists implements solver.CacheResultStorage. It does not read the file.
func (s *ResultStorage) Exists(id string) bool {
	_, err := s.stat(id)
	return err == nil
}

// An ID is a digest of the bytes, and how many there are: so much is read of a file.
var idForm = regexp.MustCompile(`^[0-9a-f]{64}-(0|[1-9][0-9]{0,17})$`)

func idOf(data []byte) string { return fmt.Sprintf("%x-%d", sha256.Sum256(data), len(data)) }

// stat returns the size of a result's file, if it has the one that its ID says.
func (s *ResultStorage) stat(id string) (size int64, err error) {
	if !idForm.MatchString(id) {
		return 0, solver.ErrNotFound
	}
	_, text, _ := strings.Cut(id, "-")
	if size, err = strconv.ParseInt(text, 10, 64); err != nil {
		return 0, err
	}
	fi, err := os.Lstat(filepath.Join(s.dir, id))
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!fi.Mode().IsRegular() || fi.Size() != size) {
		return 0, solver.ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("filestore: %w", err)
	}
	return size, nil
}

// read returns the bytes of a result.
func (s *ResultStorage) read(id string) ([]byte, error) {
	size, err := s.stat(id)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(s.dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, solver.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("filestore: %w", err)
	}
	defer f.Close()
	data := make([]byte, size)
	if _, err = io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("filestore: %w", err)
	}
	if idOf(data) != id {
		return nil, solver.ErrNotFound
	}
	return data, nil
}

// syncDir makes the names in a directory last.
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
