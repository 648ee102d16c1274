package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/engine/store"
)

// shelf keeps files, which a test may say are in use.
type shelf struct {
	dir    string
	parts  []store.UsageInfo
	held   string // in use since it was listed
	broken error
}

func (s *shelf) put(t *testing.T, u store.UsageInfo, age time.Duration) {
	t.Helper()
	noError(t, os.WriteFile(filepath.Join(s.dir, u.ID), make([]byte, 8192), 0o600))
	size, err := store.SizeOf(filepath.Join(s.dir, u.ID))
	noError(t, err)
	u.Size, u.Description, u.LastUsedAt = size, u.ID, time.Now().Add(-age)
	s.parts = append(s.parts, u)
}

func (s *shelf) List(context.Context) ([]store.UsageInfo, error) {
	return slices.Clone(s.parts), s.broken
}

func (s *shelf) Remove(_ context.Context, id string) (bool, error) {
	i := slices.IndexFunc(s.parts, func(u store.UsageInfo) bool { return u.ID == id })
	if i < 0 || id == s.held {
		return false, nil
	}
	s.parts = slices.Delete(s.parts, i, i+1)
	return true, os.Remove(filepath.Join(s.dir, id))
}

func TestKept(t *testing.T) {
	s := newStore(t, "")
	k := &shelf{dir: t.TempDir()}
	s.Register("shelf", k)
	k.put(t, store.UsageInfo{ID: "old", Type: "x.part"}, 3*time.Hour)
	k.put(t, store.UsageInfo{ID: "used", Type: "x.part", InUse: true}, 2*time.Hour)
	k.put(t, store.UsageInfo{ID: "late", Type: "x.part"}, 2*time.Hour)
	k.put(t, store.UsageInfo{ID: "new", Type: "x.part"}, 0)
	release(t, named(t, s, nil, "tree", 1))
	if got := usageOf(t, s)["shelf-old"]; got.Size < 8192 || got.Type != "x.part" || got.InUse {
		t.Errorf("du says %+v", got)
	}
	var used int64
	for _, u := range usageOf(t, s) {
		used += u.Size
	}
	for _, c := range []struct {
		opt  store.PruneOptions
		want []string
	}{
		{store.PruneOptions{DryRun: true}, []string{"old", "late", "new", "tree"}},
		{store.PruneOptions{DryRun: true, Filters: []string{"type==x.part"}}, []string{"old", "late", "new"}},
		{store.PruneOptions{DryRun: true, Filters: []string{"id==shelf-late"}}, []string{"late"}},
		{store.PruneOptions{DryRun: true, KeepDuration: time.Hour}, []string{"old", "late"}},
		{store.PruneOptions{MaxUsedSpace: used - 1}, []string{"old"}}, // the least recently used of all
	} {
		got := pruned(t, s, c.opt)
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, not %v", c.opt, got, c.want)
		}
	}
	k.held = "late"
	if got := pruned(t, s, store.PruneOptions{}); !slices.Equal(got, []string{"tree", "new"}) {
		t.Errorf("removed %v", got)
	}
	if left, err := os.ReadDir(k.dir); err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}

	// What cannot be listed or removed is an error that says whose it is.
	k.held = ""
	noError(t, os.Remove(filepath.Join(k.dir, "late")))
	if err := s.Prune(t.Context(), store.PruneOptions{}, nil); err == nil || !strings.Contains(err.Error(), "shelf-late") {
		t.Errorf("one that cannot be removed: %v", err)
	}
	k.broken = errors.New("broken")
	if _, err := s.Du(t.Context()); !errors.Is(err, k.broken) || !strings.Contains(err.Error(), "shelf") {
		t.Errorf("what cannot be listed: %v", err)
	}
}

// What is not there takes nothing; a directory what is in it.
func TestSizeOf(t *testing.T) {
	dir := t.TempDir()
	if n, err := store.SizeOf(filepath.Join(dir, "none")); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	noError(t, os.MkdirAll(filepath.Join(dir, "a/b"), 0o755))
	before, err := store.SizeOf(dir)
	noError(t, err)
	noError(t, os.WriteFile(filepath.Join(dir, "a/b/c"), make([]byte, 1<<20), 0o644))
	if after, err := store.SizeOf(dir); err != nil || after < before+1<<20 {
		t.Errorf("%d, then %d, %v", before, after, err)
	}
}
