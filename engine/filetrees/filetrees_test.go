package filetrees_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/filetrees"
	"github.com/tenonbuild/tenon/engine/treediff"
	"github.com/tenonbuild/tenon/internal/check"
)

// grown is a random tree of about n paths.
func grown(r *rand.Rand, n int) *contenthash.Node {
	root := &contenthash.Node{Entry: contenthash.Entry{Kind: contenthash.Dir, Mode: 0o755}}
	dirs := []*contenthash.Node{root}
	for i := range n {
		at := dirs[r.IntN(len(dirs))]
		c := &contenthash.Node{Name: fmt.Sprintf("n%d\xff", i)}
		c.Entry = contenthash.Entry{Mode: uint32(r.IntN(0o10000)), UID: uint32(r.IntN(3)), GID: 7}
		switch r.IntN(6) {
		case 0:
			c.Entry.Kind, c.Entry.Target = contenthash.Symlink, fmt.Sprint("to", r.IntN(5))
		case 1, 2:
			c.Entry.Kind = contenthash.Dir
			dirs = append(dirs, c)
		case 3:
			c.Entry.Kind, c.Entry.Major, c.Entry.Minor = contenthash.Char, 1, uint32(r.IntN(9))
		default:
			c.Entry.Kind, c.Entry.Size, c.Entry.Content = contenthash.File, int64(r.IntN(1e6)), contenthash.Sum{byte(r.IntN(256))}
			if r.IntN(9) == 0 {
				c.Entry.Xattrs = map[string][]byte{"user.a": {1}}
			}
		}
		at.Children = append(at.Children, c)
	}
	root.Sum() // which sorts
	return root
}

// changed is a copy with some changes.
func changed(r *rand.Rand, n *contenthash.Node, chance int) *contenthash.Node {
	c := *n
	c.Children = nil
	if n.Entry.Kind == contenthash.File && r.IntN(chance) == 0 {
		c.Entry.Size++
		c.Entry.Content[1]++
	}
	for _, below := range n.Children {
		if r.IntN(chance) > 0 {
			c.Children = append(c.Children, changed(r, below, chance))
		}
	}
	return &c
}

func words(d *treediff.Diff) string {
	var out strings.Builder
	for _, c := range d.Changes {
		fmt.Fprintf(&out, "%q %s %s %s\n", c.Path, c.Kind, c.Old, c.New)
	}
	return fmt.Sprint(out.String(), d.LeftOut)
}

// What is told of two trees that are kept is what is told of them in memory.
func TestCompare(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := filetrees.In(t.TempDir())
		old := grown(r, 10<<r.IntN(9))
		now := changed(r, old, 2+r.IntN(300))
		check.OK(t, s.Put(digest.FromString("old"), old))
		named := digest.Digest("local:" + digest.FromString("now").Encoded()) // what the keeper's names begin with is its own
		check.OK(t, s.Put(named, now))
		want, err := treediff.Compare(t.Context(), treediff.Nodes(old), treediff.Nodes(now), treediff.Options{Renames: true})
		check.OK(t, err)
		got, err := s.Compare(t.Context(), digest.FromString("old"), digest.FromString("now"))
		check.OK(t, err)
		check.Equal(t, fmt.Sprint("changes of ", seed), words(got), words(want))
		check.OK(t, s.Keep([]digest.Digest{digest.FromString("now")}, time.Now().Add(time.Hour)))
		_, err = s.Tree(digest.FromString("old"))
		check.Equal(t, "the other is gone", err != nil, true)
		got, err = s.Compare(t.Context(), digest.FromString("now"), digest.FromString("now"))
		check.OK(t, err)
		check.Equal(t, "what stays is whole", len(got.Changes), 0)
	}
}

// files lists the files of a store, with their sizes.
func files(t *testing.T, dir string) (names []string, size int64) {
	check.OK(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			fi, err := d.Info()
			check.OK(t, err)
			names, size = append(names, p), size+fi.Size()
		}
		return err
	}))
	return names, size
}

// A tree of which little has changed costs little.
func TestCostOfChange(t *testing.T) {
	dir := t.TempDir()
	s := filetrees.In(dir)
	root := &contenthash.Node{Entry: contenthash.Entry{Kind: contenthash.Dir, Mode: 0o755}}
	for i := range 400 {
		sub := &contenthash.Node{Name: fmt.Sprintf("d%03d", i), Entry: contenthash.Entry{Kind: contenthash.Dir, Mode: 0o755}}
		for j := range 100 {
			sub.Children = append(sub.Children, &contenthash.Node{Name: fmt.Sprintf("f%03d", j), Entry: contenthash.Entry{Kind: contenthash.File, Size: int64(100*i + j)}})
		}
		root.Children = append(root.Children, sub)
	}
	check.OK(t, s.Put(digest.FromString("1"), root))
	_, first := files(t, dir)
	root.Children[7].Children[3].Entry.Size = 2
	check.OK(t, s.Put(digest.FromString("2"), root))
	_, both := files(t, dir)
	if both-first > first/20 {
		t.Errorf("one file of 40,000 has changed, and %d bytes were written to %d", both-first, first)
	}
	check.OK(t, s.Put(digest.FromString("2"), root))
	_, again := files(t, dir)
	check.Equal(t, "what is there is not written again", again, both)
}

// Whatever a crash has made of files, they are read as they were, or not at all.
func TestDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	dir := t.TempDir()
	s := filetrees.In(dir)
	root := grown(r, 3000)
	name := digest.FromString("x")
	check.OK(t, s.Put(name, root))
	names, _ := files(t, dir)
	for range 60 {
		path := names[r.IntN(len(names))]
		was, err := os.ReadFile(path)
		check.OK(t, err)
		bad := slices.Clone(was)
		if r.IntN(2) == 0 {
			bad = bad[:r.IntN(len(bad))]
		} else {
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
		}
		check.OK(t, os.WriteFile(path, bad, 0o600))
		tree, err := s.Tree(name)
		if err == nil {
			var d *treediff.Diff
			d, err = treediff.Compare(t.Context(), tree, treediff.Nodes(root), treediff.Options{})
			if err == nil && len(d.Changes) > 0 {
				t.Errorf("%s is damaged, and was read: %s", path, words(d))
			}
		}
		check.OK(t, os.WriteFile(path, was, 0o600))
	}
}
