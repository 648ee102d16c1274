package local

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/internal/randtree"
	"github.com/tenonbuild/tenon/engine/store"
)

// generation is a snapshot with what the directory was when it was made.
type generation struct {
	made
	is    string   // in words
	pairs []string // of paths that are names of one file
}

// Random edits, the times of which show nothing, and a snapshot after each few: every
// snapshot is what the directory was, in words, in keys and in hard links, and remains
// so whatever is made of later ones, and when others are pruned. Merges of snapshots
// have no file under two names that no snapshot has.
func TestGenerations(t *testing.T) {
	for _, name := range snapshotters {
		t.Run(name, func(t *testing.T) {
			linked, copied := 0, 0
			b := newBenchOn(t, name)
			filters := []randtree.Filter{{}, {}, {Include: []string{"a", "b"}}}
			seeds(t, 6, func(t *testing.T, r *rand.Rand) {
				b.src.now = time.Now
				if r.IntN(2) == 0 {
					b.src.now = func() time.Time { return time.Now().Add(time.Hour) }
				}
				x := randtree.New(t, r)
				b.lend(t.Name(), x.Root)
				var all []generation
				defer func() {
					for _, g := range all {
						b.do(g.ref.Release(context.Background()))
					}
				}()
				for range 8 {
					for n := r.IntN(4); n >= 0; n-- {
						x.Edit()
					}
					w := filters[r.IntN(len(filters))]
					g, ok := b.generation(t.Name(), x, w)
					if !ok {
						continue
					}
					b.check(x, g)
					for _, was := range all {
						before, after := b.inodes(was.ref), b.inodes(g.ref)
						for p, ino := range after {
							if before[p] == ino {
								linked++
							} else {
								copied++
							}
						}
					}
					all = append(all, g)
					if len(all) > 1 {
						b.checkMerge(x, all[r.IntN(len(all)-1)], g)
					}
					if r.IntN(3) == 0 { // one goes, whichever it is
						n := r.IntN(len(all))
						b.do(all[n].ref.Release(context.Background()))
						all = slices.Delete(all, n, n+1)
						b.do(b.st.Prune(context.Background(), store.PruneOptions{All: true}, nil))
					}
				}
				for _, g := range all {
					b.check(x, g)
				}
			})
			t.Logf("%d files were shared, %d not", linked, copied)
			if linked == 0 && *seedFlag == 0 && *seedsFlag >= 10 {
				t.Error("nothing was shared")
			}
		})
	}
}

func (b *bench) generation(id string, x *randtree.Tree, w randtree.Filter) (generation, bool) {
	b.t.Helper()
	w.NoOwners, w.NoRoot = true, true
	a := attrs{}
	if w.Include != nil {
		a[pb.AttrIncludePatterns] = list(w.Include...)
	}
	i := b.instance(id, a)
	key, _, err := i.CacheKey(context.Background(), 0)
	b.do(err)
	ref, err := i.Snapshot(context.Background())
	b.do(err)
	g := generation{made: made{ref, key}, is: x.Describe("", w)}
	if ref == nil {
		return g, false
	}
	there := b.inodes(ref)
	g.pairs = pairs(x.Root, there)
	return g, true
}

// pairs are the paths, of those that are keys of among, that are names of one file
// below dir.
func pairs(dir string, among map[string]uint64) (all []string) {
	first := map[uint64]string{}
	paths := []string{}
	for p := range among {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		var st syscall.Stat_t
		if err := syscall.Lstat(filepath.Join(dir, p), &st); err != nil {
			all = append(all, err.Error())
			continue
		}
		if one, ok := first[st.Ino]; ok {
			all = append(all, fmt.Sprintf("%q %q", one, p))
			continue
		}
		first[st.Ino] = p
	}
	return all
}

// check compares a snapshot with what it should be.
func (b *bench) check(x *randtree.Tree, g generation) {
	b.t.Helper()
	b.intact(g.made)
	there := b.inodes(g.ref)
	b.mounted(g.ref, true, func(dir string) {
		y := *x
		y.Root = dir
		if is := y.Describe("", randtree.Filter{NoOwners: true, NoRoot: true}); is != g.is {
			b.t.Fatalf("the snapshot is\n%s\nand not\n%s\nafter\n%s", is, g.is, strings.Join(x.Log, "\n"))
		}
		if got := pairs(dir, there); !slices.Equal(got, g.pairs) {
			b.t.Fatalf("names of one file are %q, not %q, after\n%s", got, g.pairs, strings.Join(x.Log, "\n"))
		}
	})
}

// checkMerge sees that a tree on top of a merge, in which every file is written to in
// place, has two names of one file only where one of its parts has.
func (b *bench) checkMerge(x *randtree.Tree, one, two generation) {
	b.t.Helper()
	ctx := context.Background()
	merged, err := b.st.Merge(ctx, []*store.Ref{one.ref, two.ref}, store.NewOptions{})
	b.do(err)
	m, err := b.st.New(ctx, merged, store.NewOptions{})
	b.do(err)
	b.mounted(m, false, func(dir string) {
		for _, pair := range pairs(dir, b.inodes(m)) {
			if !slices.Contains(one.pairs, pair) && !slices.Contains(two.pairs, pair) {
				b.t.Fatalf("%s became names of one file after\n%s", pair, strings.Join(x.Log, "\n"))
			}
		}
		for p := range b.inodes(m) {
			f, err := os.OpenFile(filepath.Join(dir, p), os.O_WRONLY|os.O_APPEND, 0)
			b.do(err)
			_, err = f.WriteString("spoilt")
			b.do(err)
			b.do(f.Close())
		}
	})
	b.do(m.Release(ctx))
	b.do(merged.Release(ctx))
	b.check(x, one)
	b.check(x, two)
}

// A context of many files, of which one changes between two builds: with the last
// snapshot, and without. Written is what the new snapshot takes for itself.
func BenchmarkOneChanged(b *testing.B) {
	const count = 20_000
	x := newBench(b)
	x.src.now = func() time.Time { return time.Now().Add(time.Hour) }
	dir := b.TempDir()
	all := map[string]string{}
	for i := range count {
		all[fmt.Sprintf("%d/%d/%d", i%10, i/10%10, i)] = strings.Repeat(fmt.Sprint(i), 1000)
	}
	files(b, dir, all)
	x.lend("s", dir)
	for _, way := range []string{"shared", "copied"} {
		b.Run(way, func(b *testing.B) {
			last, err := x.instance("s", nil).Snapshot(b.Context())
			x.do(err)
			var written int64
			n := 0
			for b.Loop() {
				b.StopTimer()
				n++
				files(b, dir, map[string]string{"1/1/11": way + fmt.Sprint(n)})
				if way == "copied" {
					x.do(os.RemoveAll(x.src.lastName(dir)))
				}
				i := x.instance("s", nil)
				_, _, err := i.CacheKey(b.Context(), 0)
				x.do(err)
				b.StartTimer()
				ref, err := i.Snapshot(b.Context())
				b.StopTimer()
				x.do(err)
				was := x.inodes(last)
				x.mounted(ref, true, func(dir string) {
					for p, ino := range x.inodes(ref) {
						if was[p] != ino {
							var st syscall.Stat_t
							x.do(syscall.Lstat(filepath.Join(dir, p), &st))
							written += st.Blocks * 512
						}
					}
				})
				x.do(last.Release(context.Background()))
				last = ref
				b.StartTimer()
			}
			b.ReportMetric(float64(written)/float64(n), "written/op")
			x.do(last.Release(context.Background()))
		})
	}
}
