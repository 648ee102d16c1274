package http_test

import (
	"os"
	"slices"
	"testing"

	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/engine/store"
)

// What is noted of files is listed and can be pruned; then a file is fetched anew.
func TestKeptNotes(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t, "hello")
	if err := os.MkdirAll(e.Store.Path("http"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.Store.Path("http", "new-1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := newSource(t, e)
	if list, err := e.Store.Du(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("of nothing: %+v, %v", list, err)
	}
	fetch(t, e, src, op(srv.URL+"/a"), "a", "hello")
	fetch(t, e, src, op(srv.URL+"/b"), "b", "hello")
	fetch(t, e, src, op(srv.URL+"/a"), "a", "hello")
	srv.wants(t, 3, 2)
	list, err := e.Store.Du(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(u store.UsageInfo) bool { return u.Type == store.TypeHTTPNotes })
	if i < 0 || list[i].Size <= 0 || list[i].LastUsedAt.IsZero() || list[i].Description != "what servers said of 2 files" {
		t.Fatalf("du says %+v", list)
	}
	n := 0
	opt := store.PruneOptions{Filters: []string{"type==" + store.TypeHTTPNotes}}
	if err := e.Store.Prune(t.Context(), opt, func(store.UsageInfo) { n++ }); err != nil || n != 1 {
		t.Errorf("%d removed, %v", n, err)
	}
	if left, err := os.ReadDir(e.Store.Path("http")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	fetch(t, e, src, op(srv.URL+"/a"), "a", "hello")
	srv.wants(t, 1, 1)
}
