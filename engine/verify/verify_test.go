package verify_test

import (
	"context"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/internal/randtree"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/engine/treediff"
	"github.com/tenonbuild/tenon/engine/verify"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// Random trees on one random tree: what is found by looking at what each has written is
// what is found by looking at all, for each snapshotter.
func TestRandomTrees(t *testing.T) {
	testenv.Root(t)
	for _, snapshotter := range []string{"overlayfs", "native"} {
		t.Run(snapshotter, func(t *testing.T) {
			s, err := store.Open(t.Context(), store.Options{Root: t.TempDir(), Snapshotter: snapshotter})
			check.OK(t, err)
			defer func() { check.OK(t, s.Close()) }()
			for seed := range uint64(25) {
				randomTrees(t, s, snapshotter, rand.New(rand.NewPCG(seed, 3)))
			}
		})
	}
}

func randomTrees(t *testing.T, s *store.Store, snapshotter string, r *rand.Rand) {
	t.Helper()
	ctx := context.Background()
	from := randtree.New(t, r)
	base := written(t, s, nil, func(dir string) {
		out, err := exec.Command("cp", "-a", from.Root+"/.", dir).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
	ref, err := base.Commit(ctx)
	check.OK(t, err)
	var log []string
	edit := func(dir string) {
		x := randtree.At(t, r, dir)
		for range r.IntN(5) {
			x.Edit()
		}
		log = append(log, strings.Join(x.Log, "\n"))
	}
	one := written(t, s, ref, edit)
	first, err := one.Commit(ctx)
	check.OK(t, err)
	second := written(t, s, ref, edit)
	a, b, err := store.Apart(ctx, first, second)
	check.OK(t, err)
	check.Equal(t, "they are known to be overlays", a != "" && b != "" && a != b, snapshotter == "overlayfs")

	found, err := verify.Compare(ctx, "/", first, second, false)
	check.OK(t, err)
	var got []string
	for _, c := range found.Changes {
		got = append(got, c.String())
	}
	if want := all(t, first, second); strings.Join(got, "\n") != want {
		t.Errorf("%s\nwant\n%s\nafter\n%s", strings.Join(got, "\n"), want, strings.Join(log, "\n--\n"))
	}
	check.OK(t, second.Release(ctx))
	check.OK(t, first.Release(ctx))
	check.OK(t, ref.Release(ctx))
}

// all compares all that is in two trees.
func all(t *testing.T, first, second store.Tree) string {
	t.Helper()
	a, unmountA, err := store.MountLocal(context.Background(), first, true)
	check.OK(t, err)
	b, unmountB, err := store.MountLocal(context.Background(), second, true)
	check.OK(t, err)
	d, err := treediff.Compare(t.Context(), treediff.Dir(a, false), treediff.Dir(b, false), treediff.Options{Renames: true})
	check.OK(t, err)
	var lines []string
	for _, c := range d.Changes {
		lines = append(lines, c.String())
	}
	check.OK(t, unmountB())
	check.OK(t, unmountA())
	return strings.Join(lines, "\n")
}

// written makes a tree that was written to.
func written(t *testing.T, s *store.Store, parent *store.Ref, fn func(dir string)) *store.Mutable {
	t.Helper()
	m, err := s.New(context.Background(), parent, store.NewOptions{})
	check.OK(t, err)
	dir, unmount, err := store.MountLocal(context.Background(), m, false)
	check.OK(t, err)
	fn(dir)
	check.OK(t, unmount())
	return m
}
