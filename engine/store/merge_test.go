package store_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	bolt "go.etcd.io/bbolt"
)

func wantTree(t *testing.T, r *store.Ref, want ...string) {
	t.Helper()
	read := func(dir string) (got []string) {
		noError(t, filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
			if err == nil && fi.Mode().IsRegular() {
				dt, _ := os.ReadFile(path)
				rel, _ := filepath.Rel(dir, path)
				got = append(got, rel+"="+string(dt))
			}
			return err
		}))
		return got
	}
	mounted(t, r, true, func(dir string) {
		if got := read(dir); !slices.Equal(got, want) {
			t.Errorf("tree: got %v, want %v", got, want)
		}
	})
	_, tars := layersOf(t, r, store.LayerOptions{})
	if got := read(unpackLayers(t, tars)); !slices.Equal(got, want) {
		t.Errorf("layers: got %v, want %v", got, want)
	}
}

func TestMergeAndDiff(t *testing.T) {
	ctx := context.Background()
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		base := write(t, s, nil, store.NewOptions{}, func(dir string) {
			file(t, "base", "0")(dir)
			file(t, "d/x", "0")(dir)
		})
		a := write(t, s, base, store.NewOptions{}, file(t, "d/a", "1"))
		b := write(t, s, base, store.NewOptions{}, func(dir string) {
			noError(t, os.Remove(filepath.Join(dir, "base")))
			file(t, "d/x", "changed")(dir)
		})
		c := write(t, s, nil, store.NewOptions{}, file(t, "c", "3"))
		must := func(r *store.Ref, err error) *store.Ref {
			t.Helper()
			noError(t, err)
			return r
		}
		onlyB := must(s.Diff(ctx, base, b, store.NewOptions{}))
		all := must(s.Merge(ctx, []*store.Ref{a, nil, onlyB, c}, store.NewOptions{Description: "all"}))
		top := write(t, s, all, store.NewOptions{}, file(t, "top", "4"))
		odd := must(s.Diff(ctx, a, b, store.NewOptions{})) // neither was built on the other
		back := must(s.Merge(ctx, []*store.Ref{a, odd}, store.NewOptions{}))
		minus := must(s.Diff(ctx, c, nil, store.NewOptions{}))
		none := must(s.Merge(ctx, []*store.Ref{c, minus}, store.NewOptions{}))
		two := must(s.Diff(ctx, base, top, store.NewOptions{}))
		refs := []*store.Ref{base, a, b, c, onlyB, all, top, odd, back, minus, none, two}
		wantTree(t, all, "c=3", "d/a=1", "d/x=changed")
		wantTree(t, top, "c=3", "d/a=1", "d/x=changed", "top=4")
		wantTree(t, back, "d/x=changed")
		wantTree(t, none)
		wantTree(t, two, "c=3", "d/a=1", "d/x=changed", "top=4")
		parts, _ := layersOf(t, all, store.LayerOptions{})
		ofA, _ := layersOf(t, a, store.LayerOptions{})
		if len(parts) != 4 || parts[0].Descriptor.Digest != ofA[0].Descriptor.Digest || parts[1].Descriptor.Digest != ofA[1].Descriptor.Digest {
			t.Errorf("a merge's layers are not those of its parts: %v", parts)
		}
		same := must(s.Diff(ctx, nil, a, store.NewOptions{}))
		one := must(s.Merge(ctx, []*store.Ref{nil, a}, store.NewOptions{}))
		if same.ID() != a.ID() || one.ID() != a.ID() {
			t.Error("a tree alone has become another")
		}
		if r := must(s.Diff(ctx, a, a, store.NewOptions{})); r != nil {
			t.Error("the diff of a tree to itself is not empty")
		}
		if r := must(s.Merge(ctx, nil, store.NewOptions{})); r != nil {
			t.Error("a merge of nothing is not empty")
		}
		release(t, append(refs, same, one)...)
		noError(t, s.Prune(ctx, store.PruneOptions{All: true}, nil))
		wantNothing(t, s)
	})
}

// TestMergeLadder: merges of merges are refused before they take all memory, and
// nested diffs cost what they have.
func TestMergeLadder(t *testing.T) {
	ctx := context.Background()
	s := newStore(t, "")
	ref := write(t, s, nil, store.NewOptions{}, file(t, "a", "1"))
	for i := 0; ; i++ {
		next, err := s.Merge(ctx, []*store.Ref{ref, ref}, store.NewOptions{})
		if err != nil {
			if i < 5 || !strings.Contains(err.Error(), "layers") {
				t.Errorf("after %d merges: %v", i, err)
			}
			break
		}
		release(t, ref)
		ref = next
	}
	other := write(t, s, nil, store.NewOptions{}, file(t, "b", "1"))
	diff, err := s.Diff(ctx, ref, other, store.NewOptions{})
	noError(t, err)
	for range 10 {
		next, err := s.Diff(ctx, diff, other, store.NewOptions{})
		noError(t, err)
		release(t, diff)
		diff = next
	}
	_, _, err = diff.Layers(ctx, store.LayerOptions{})
	if err != nil && !strings.Contains(err.Error(), "layers") {
		t.Error(err)
	}
	release(t, ref, other, diff)
}

// A tree that was laid when its process died, and of which only the lease was
// written down, as by versions before this one, is laid again.
func TestMergeAfterDeath(t *testing.T) {
	testenv.Root(t)
	ctx := context.Background()
	root := t.TempDir()
	s := openStore(t, store.Options{Root: root})
	a := write(t, s, nil, store.NewOptions{}, file(t, "a", "1"))
	b := write(t, s, nil, store.NewOptions{}, file(t, "b", "2"))
	both, err := s.Merge(ctx, []*store.Ref{a, b}, store.NewOptions{})
	noError(t, err)
	noError(t, both.Extract(ctx))
	id := both.ID()
	release(t, a, b, both)
	noError(t, s.Close())
	forgetSnapshot(t, root, id)
	s = openStore(t, store.Options{Root: root})
	defer func() { noError(t, s.Close()) }()
	both, err = s.Get(ctx, id)
	noError(t, err)
	mounted(t, both, true, func(dir string) {
		wantFile(t, dir, "a", "1")
		wantFile(t, dir, "b", "2")
	})
	release(t, both)
}

// forgetSnapshot takes out of a record on the disk that it has a snapshot.
func forgetSnapshot(t *testing.T, root, id string) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(root, "metadata.db"), 0o600, nil)
	noError(t, err)
	noError(t, db.Update(func(tx *bolt.Tx) error {
		records := tx.Bucket([]byte("tenon")).Bucket([]byte("records"))
		var facts map[string]any
		noError(t, json.Unmarshal(records.Get([]byte(id)), &facts))
		if facts["snapshot"] == nil {
			t.Error("the tree was not laid")
		}
		delete(facts, "snapshot")
		dt, err := json.Marshal(facts)
		noError(t, err)
		return records.Put([]byte(id), dt)
	}))
	noError(t, db.Close())
}
