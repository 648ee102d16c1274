package filestore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/filestore"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func encode(r solver.Result) ([]byte, error) { return []byte(solvertest.Value(r)), nil }

func decode(data []byte) (solver.Result, error) { return solvertest.NewResult(string(data), nil), nil }

// open opens a storage for the results of solvertest.
func open(t *testing.T, dir string) *filestore.ResultStorage {
	t.Helper()
	s, err := filestore.NewResultStorage(dir, encode, decode)
	must(t, err)
	return s
}

func save(t *testing.T, s *filestore.ResultStorage, value string) solver.CacheResult {
	t.Helper()
	res, err := s.Save(solvertest.NewResult(value, nil))
	must(t, err)
	return res
}

// want wants a result to load as a value; "" wants it to be gone.
func want(t *testing.T, s *filestore.ResultStorage, id, value string) {
	t.Helper()
	r, err := s.Load(context.Background(), solver.CacheResult{ID: id})
	switch {
	case value == "" && !errors.Is(err, solver.ErrNotFound):
		t.Errorf("%.80q: got %v (%v), want ErrNotFound", id, r, err)
	case value != "" && (err != nil || solvertest.Value(r) != value):
		t.Errorf("%.80q: got %v (%v), want %q", id, r, err, value)
	}
}

// contract 21, 24
func TestResultStorageSuite(t *testing.T) {
	solvertest.CacheResultStorage(t, func(t *testing.T) solvertest.ResultStorage {
		dir := t.TempDir()
		return solvertest.ResultStorage{Storage: open(t, dir), Prune: func(id string) { must(t, os.Remove(filepath.Join(dir, id))) }}
	})
}

// contract 21, 24
func TestManagerSuite(t *testing.T) {
	solvertest.CacheManager(t, func(t *testing.T) solvertest.Manager {
		dir, keys := t.TempDir(), solver.NewInMemoryCacheStorage()
		again := func(t *testing.T) solver.CacheManager { return solver.NewCacheManager("files", keys, open(t, dir)) }
		return solvertest.Manager{Cache: again(t), Again: again, Prune: func(rec *solver.CacheRecord) {
			must(t, os.Remove(filepath.Join(dir, rec.ID)))
		}}
	})
}

// contract 15: a file that is damaged is gone, nothing but a result is read for one, and
// the next Save mends it.
func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"removed":   os.Remove,
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"cut":       func(path string) error { return os.Truncate(path, 4) },
		"longer":    func(path string) error { return os.Truncate(path, 1<<40) },
		"other":     func(path string) error { return os.WriteFile(path, []byte("VALUE"), 0) },
		"link":      func(path string) error { return errors.Join(os.Rename(path, path+"x"), os.Symlink(path+"x", path)) },
		"directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			res := save(t, s, "value")
			path := filepath.Join(dir, res.ID)
			must(t, damage(path))
			want(t, s, res.ID, "")
			if name == "directory" {
				if _, err := s.Save(solvertest.NewResult("value", nil)); err == nil {
					t.Error("a directory was replaced")
				}
				must(t, os.Remove(path))
			}
			if again := save(t, s, "value"); again.ID != res.ID {
				t.Errorf("it was called %q, and is called %q", res.ID, again.ID)
			}
			want(t, s, res.ID, "value")
		})
	}
}

// An ID names a file of the directory, and one that was saved.
func TestForeignIDs(t *testing.T) {
	above := t.TempDir()
	dir := filepath.Join(above, "results")
	s := open(t, dir)
	good := save(t, s, "value").ID
	must(t, os.WriteFile(filepath.Join(above, good), []byte("value"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "plain"), []byte("value"), 0o600))
	digest := strings.TrimSuffix(good, "-5")
	for _, id := range []string{
		"", ".", "..", "plain", "../" + good, "./" + good, good + "/", "\x00", good + "\x00", good + "\n", digest, digest + "-", digest + "-05", digest + "-+5", digest + "--5",
		digest + "-6", digest + "-999999999999999999", digest + "-9999999999999999999999", strings.ToUpper(digest) + "-5", filepath.Join(above, good), strings.Repeat("a", 1<<20),
	} {
		want(t, s, id, "")
		if s.Exists(id) {
			t.Errorf("%.80q exists", id)
		}
	}
	// A result's own ID is no part of the name.
	for _, value := range []string{"../climbs", "", strings.Repeat("long", 1<<16), "/etc/passwd\x00"} {
		r, err := s.Load(context.Background(), save(t, s, value))
		if err != nil || solvertest.Value(r) != value {
			t.Errorf("%.20q: %v", value, err)
		}
	}
	if names := names(t, above); !slices.Equal(names, []string{good, "results"}) {
		t.Errorf("%q are beside the directory", names)
	}
}

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// What a killed process left unfinished goes with the next opening, not what another
// process is writing now.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	id := save(t, open(t, dir), "value").ID
	for name, age := range map[string]time.Duration{"new-1": 2 * time.Hour, "new-2": 0, id: 2 * time.Hour, "mine": 2 * time.Hour} {
		path := filepath.Join(dir, name)
		if name != id {
			must(t, os.WriteFile(path, nil, 0o600))
		}
		must(t, os.Chtimes(path, time.Time{}, time.Now().Add(-age)))
	}
	want(t, open(t, dir), id, "value")
	if got := names(t, dir); !slices.Equal(got, slices.Sorted(slices.Values([]string{"new-2", id, "mine"}))) {
		t.Errorf("%q are left", got)
	}
}

// What cannot be used, written or read is an error that says where, and leaves nothing.
func TestErrors(t *testing.T) {
	failing := errors.New("no such kind")
	dir := t.TempDir()
	for name, open := range map[string]func() error{
		"nil": func() error { _, err := filestore.NewResultStorage(dir, nil, nil); return err },
		"no directory above": func() error {
			_, err := filestore.NewResultStorage(filepath.Join(dir, "a", "b"), encode, decode)
			return err
		},
		"a file": func() error {
			path := filepath.Join(dir, "file")
			must(t, os.WriteFile(path, nil, 0o600))
			_, err := filestore.NewResultStorage(path, encode, decode)
			return err
		},
	} {
		if err := open(); err == nil || !strings.HasPrefix(err.Error(), "filestore: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, err := filestore.NewResultStorage(dir, encode, func([]byte) (solver.Result, error) { return nil, failing })
	must(t, err)
	res, err := s.Save(solvertest.NewResult("value", nil))
	must(t, err)
	if r, err := s.Load(context.Background(), res); !errors.Is(err, failing) || !strings.Contains(fmt.Sprint(err), res.ID) {
		t.Errorf("decode fails: %v, %v", r, err)
	}
	s, err = filestore.NewResultStorage(dir, func(solver.Result) ([]byte, error) { return nil, failing }, decode)
	must(t, err)
	if _, err := s.Save(solvertest.NewResult("value", nil)); !errors.Is(err, failing) {
		t.Errorf("encode fails: %v", err)
	}
	must(t, os.RemoveAll(dir))
	if _, err := open(t, dir).Save(solvertest.NewResult("value", nil)); err != nil {
		t.Error(err)
	}
	s = open(t, dir)
	must(t, os.RemoveAll(dir))
	if _, err := s.Save(solvertest.NewResult("value", nil)); err == nil || !strings.HasPrefix(err.Error(), "filestore: ") {
		t.Errorf("the directory is gone: %v", err)
	}
}
