package contenthash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/moby/buildkit/snapshot"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"golang.org/x/sync/errgroup"
)

func openStore(t testing.TB, root string) *store.Store {
	t.Helper()
	st, err := store.Open(context.Background(), store.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// commit makes a tree on top of another.
func commit(t testing.TB, st *store.Store, parent *store.Ref, all map[string]string) *store.Ref {
	t.Helper()
	ctx := context.Background()
	m, err := st.New(ctx, parent, store.NewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mountable, err := m.Mount(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	mounter := snapshot.LocalMounter(mountable)
	dir, err := mounter.Mount()
	if err != nil {
		t.Fatal(err)
	}
	fill(t, dir, all)
	if err := mounter.Unmount(); err != nil {
		t.Fatal(err)
	}
	ref, err := m.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func release(t testing.TB, ref *store.Ref) {
	t.Helper()
	if err := ref.Release(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestRef(t *testing.T) {
	testenv.Root(t)
	st := openStore(t, filepath.Join(t.TempDir(), "root"))
	defer st.Close()
	base := commit(t, st, nil, map[string]string{"a/f": "1", "b/g": "2"})
	defer release(t, base)
	same := commit(t, st, nil, map[string]string{"a/f": "1", "b/g": "2"})
	defer release(t, same)
	other := commit(t, st, base, map[string]string{"b/h": "3"})
	defer release(t, other)
	empty := commit(t, st, nil, nil)
	defer release(t, empty)

	sum := func(ref *store.Ref, p string) string {
		t.Helper()
		d, err := Checksum(t.Context(), ref, p, Opt{})
		if err != nil {
			t.Fatal(err)
		}
		return d.String()
	}
	for _, c := range []struct {
		a, b *store.Ref
		p    string
		same bool
	}{
		{base, same, "/", true}, {base, other, "/", false}, {base, other, "/a", true}, {base, other, "/b", false}, {empty, nil, "/", true}, {base, nil, "/", false},
	} {
		if got := sum(c.a, c.p) == sum(c.b, c.p); got != c.same {
			t.Errorf("%s of %s and %s is the same: %v", c.p, c.a.ID(), c.b.ID(), got)
		}
	}
	// What was learned is kept with the record.
	if known := load(base); !known.root.listed || known.root.child("a").child("f") == nil || !known.root.child("a").child("f").known {
		t.Error("the tree was not kept")
	}
	// What cannot be read is computed again.
	want := sum(base, "/")
	k := &keeper{byID: map[string]*kept{}, max: maxNodes}
	for _, bad := range [][]byte{nil, {}, []byte("x"), bytes.Repeat([]byte{1}, 100)} {
		if err := base.SetValue(valueKey, bad); err != nil {
			t.Fatal(err)
		}
		k.byID = map[string]*kept{}
		if got, err := k.checksum(t.Context(), base, "/", Opt{}); err != nil || got.String() != want {
			t.Errorf("with %q kept: %s, %v", bad, got, err)
		}
	}
}

// Many callers at once, some of whom give up, get what one alone would.
func TestTogether(t *testing.T) {
	testenv.Root(t)
	st := openStore(t, filepath.Join(t.TempDir(), "root"))
	defer st.Close()
	all := map[string]string{}
	for n := range 300 {
		all[fmt.Sprintf("%d/%d", n%10, n)] = fmt.Sprint(n)
	}
	ref := commit(t, st, nil, all)
	defer release(t, ref)
	want, err := ChecksumDir(t.Context(), fill(t, t.TempDir(), all), "3", Opt{})
	if err != nil {
		t.Fatal(err)
	}
	var eg errgroup.Group
	for n := range 20 {
		eg.Go(func() error {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if n%3 == 0 {
				cancel()
			}
			got, err := Checksum(ctx, ref, "3", Opt{})
			if n%3 == 0 && errors.Is(err, context.Canceled) {
				return nil
			}
			if err != nil || got != want {
				return fmt.Errorf("%s, %v: want %s", got, err, want)
			}
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		t.Error(err)
	}
}

// The trees in memory are bounded, and the one used last stays.
func TestMemoryIsBounded(t *testing.T) {
	testenv.Root(t)
	st := openStore(t, filepath.Join(t.TempDir(), "root"))
	defer st.Close()
	k := &keeper{byID: map[string]*kept{}, max: 25}
	var want []string
	for n := range 6 {
		all := map[string]string{}
		for i := range 9 {
			all[fmt.Sprint(i)] = fmt.Sprint(n)
		}
		ref := commit(t, st, nil, all)
		defer release(t, ref)
		want = append(want, ref.ID())
		if _, err := k.checksum(t.Context(), ref, "/", Opt{}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for e := k.order.Front(); e != nil; e = e.Next() {
		got = append(got, e.Value.(*kept).id)
	}
	if len(k.byID) != 2 || k.nodes != 20 || fmt.Sprint(got) != fmt.Sprint([]string{want[5], want[4]}) {
		t.Errorf("%d trees with %d nodes: %v", len(k.byID), k.nodes, got)
	}
}
