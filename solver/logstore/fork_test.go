package logstore

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// What this process starts has its open files for a moment, with their locks. That
// is no reason not to open a store.
func TestOpenBesideForks(t *testing.T) {
	program, err := exec.LookPath("true")
	if err != nil {
		t.Skip("this test starts processes, and there is no program true")
	}
	ctx, stop := context.WithCancel(t.Context())
	var forking sync.WaitGroup
	defer forking.Wait()
	defer stop()
	for range 2 * runtime.GOMAXPROCS(0) {
		forking.Go(func() {
			for ctx.Err() == nil {
				if err := exec.CommandContext(ctx, program).Run(); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	path := filepath.Join(t.TempDir(), "cache.db")
	for range 200 {
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); !errors.Is(err, ErrInUse) {
			t.Fatalf("a store that is open was opened again: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
