package solver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/logstore"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// onDisk puts the world's keys into a file, which is written when it is told to.
func (w *world) onDisk(path string) *logstore.Store {
	w.t.Helper()
	store, err := logstore.Open(path, logstore.Options{FlushEvery: time.Hour})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { store.Close() })
	w.cache = solver.NewCacheManager("disk", store, w.results)
	return store
}

// contract 22: what was synced is there after a crash, and the file is whole; a
// second writer gets a clear error.
func TestCacheOnDiskAfterCrash(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	path, copied := filepath.Join(dir, "cache"), filepath.Join(dir, "copy")
	store := w.onDisk(path)
	graph := func(tag string) solver.Edge { return failureGraph(w, tag).Edge(0) }
	s := w.solver()
	w.build(s, graph("1"))
	if err := store.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.build(s, graph("2")) // is not synced
	if _, err := logstore.Open(path, logstore.Options{}); !errors.Is(err, logstore.ErrInUse) || !strings.Contains(err.Error(), path) {
		t.Errorf("a second writer: %v", err)
	}
	// The file as a process leaves it that is killed now.
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := logstore.CheckFile(copied); err != nil {
		t.Error(err)
	}
	w.onDisk(copied)
	w.costs("what was synced", counts{maps: 4, loads: 1}, func() { w.build(w.solver(), graph("1")) })
	got := w.during(func() { w.build(w.solver(), graph("2")) })
	if got.execs != 1 || got.digests != 1 {
		t.Errorf("what was not is found by its content: %+v", got)
	}
}

// contract 23: saving many keys costs a few writes to the disk, and reads do not wait for
// the disk: what is not written yet is found all the same.
func TestCacheOnDiskWrites(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "cache")
	store := w.onDisk(path)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const n = 2000
	graph := func() solver.Edge {
		top := w.node("top")
		top.Value = "v"
		for i := range n {
			top.In = append(top.In, solvertest.Input{Node: w.node(fmt.Sprint("in", i))})
		}
		return top.Edge(0)
	}
	s := w.solver()
	w.build(s, graph())
	w.costs("before it is written", counts{maps: n + 1, loads: 1}, func() { w.build(s, graph()) })
	if now, err := os.ReadFile(path); err != nil || string(now) != string(before) {
		t.Errorf("it was written without being told to (%v)", err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if frames := bytes.Count(after, []byte("\xf5Key")); frames > 20 {
		t.Errorf("%d frames for %d results and links", frames, 2*n)
	}
}
