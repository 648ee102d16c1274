package boltstore

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver/solvertest"
)

// limitFiles makes the disk full for every file that would get larger than
// size; 0 gives the space back.
func limitFiles(t *testing.T, size int64) {
	t.Helper()
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	limit.Cur = limit.Max
	if size > 0 {
		limit.Cur = uint64(size)
	}
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
}

// TestDiskFull: the disk is full for a time, wherever in the commit that comes
// out. Nothing is lost, and the file is sound at all times.
func TestDiskFull(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	defer limitFiles(t, 0)
	path, model := storePath(t), solvertest.NewStorageModel()
	s := openTest(t, path, Options{FlushEvery: time.Hour})
	failed := 0
	for round := range 20 {
		for i := range 30 {
			id := fmt.Sprintf("%d-%d-%s", round, i, strings.Repeat("x", 500))
			both(t, s, model, addResult(id, id), addLink("hub", id, id))
		}
		info, err := os.Stat(path)
		must(t, err)
		limitFiles(t, info.Size()+int64(round)*4096)
		if err := s.Sync(t.Context()); err != nil {
			failed++
			if !errors.Is(err, syscall.EFBIG) && !strings.Contains(err.Error(), syscall.EFBIG.Error()) {
				t.Fatal(err)
			}
			must(t, solvertest.DiffStorage(s, model))
			must(t, s.Check())
		}
		limitFiles(t, 0)
		must(t, s.Sync(t.Context()))
		must(t, s.Check())
	}
	if failed == 0 {
		t.Fatal("the disk was never full")
	}
	must(t, solvertest.DiffStorage(s, model))
	must(t, s.Close())
	must(t, solvertest.DiffStorage(openTest(t, path, Options{}), model))
}
