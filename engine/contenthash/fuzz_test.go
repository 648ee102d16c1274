package contenthash

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/internal/randtree"
)

var (
	seedFlag  = flag.Uint64("contenthash.seed", 0, "the one seed of random trees to run, with its log")
	seedsFlag = flag.Int("contenthash.seeds", 60, "how many seeds of random trees to run")
)

// eachSeed runs fn with a source of random numbers. A seed that fails names itself.
func eachSeed(t *testing.T, fn func(t *testing.T, r *rand.Rand)) { someSeeds(t, *seedsFlag, fn) }

func someSeeds(t *testing.T, count int, fn func(t *testing.T, r *rand.Rand)) {
	first := uint64(1)
	if *seedFlag != 0 {
		first, count = *seedFlag, 1
	}
	for seed := first; seed < first+uint64(count) && !t.Failed(); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("again: go test ./engine/contenthash -run '%s' -contenthash.seed=%d", strings.Split(t.Name(), "/")[0], seed)
				}
			})
			fn(t, rand.New(rand.NewPCG(seed, 7)))
		})
	}
}

// options are those that the random tests ask with. Links are not followed by them,
// so that the naive description knows which path is meant.
var options = []Opt{
	{},
	{IncludePatterns: []string{"*.txt"}},
	{IncludePatterns: []string{"a", "b/**/c.txt"}},
	{ExcludePatterns: []string{"**/*.txt"}},
	{ExcludePatterns: []string{"a", "!a/b"}},
	{ExcludePatterns: []string{"*", "!**/c.txt"}},
	{IncludePatterns: []string{"a", "!a/a"}, ExcludePatterns: []string{"**/b"}},
	{IncludePatterns: []string{}, ExcludePatterns: []string{"**", "!b"}},
}

// pairs says of two ways to name a thing whether they agree on what is equal.
type pairs struct{ there, back map[string]string }

func (p *pairs) differ(a, b string) string {
	if p.there == nil {
		p.there, p.back = map[string]string{}, map[string]string{}
	}
	if was, ok := p.there[a]; ok && was != b {
		return fmt.Sprintf("one tree has two digests, %s and %s:\n%s", was, b, a)
	}
	if was, ok := p.back[b]; ok && was != a {
		return fmt.Sprintf("two trees have the digest %s:\n%s\n\nand\n\n%s", b, was, a)
	}
	p.there[a], p.back[b] = b, a
	return ""
}

// Equal trees have equal digests, and others have others: after each random edit the
// digests of every path, with every option, are compared with a description in words.
func TestRandomEdits(t *testing.T) {
	seen := make([]pairs, len(options))
	eachSeed(t, func(t *testing.T, r *rand.Rand) {
		x := randtree.New(t, r)
		for range 12 {
			x.Edit()
			for _, p := range x.Paths("fdlpc") {
				for i, opt := range options {
					if i > 0 && p != "" && r.IntN(4) > 0 {
						continue
					}
					dgst, err := ChecksumDir(context.Background(), x.Root, p, opt)
					if err != nil {
						t.Fatal(err)
					}
					if d := seen[i].differ(x.Describe(p, randtree.Filter{Include: opt.IncludePatterns, Exclude: opt.ExcludePatterns}), dgst.String()); d != "" {
						t.Fatalf("%q with %+v: %s\n\nafter\n%s", p, opt, d, strings.Join(x.Log, "\n"))
					}
				}
			}
		}
	})
}

// What a tree knows from earlier questions, and what it was encoded to in between,
// changes no answer.
func TestRandomQuestions(t *testing.T) {
	eachSeed(t, func(t *testing.T, r *rand.Rand) {
		x := randtree.New(t, r)
		known := newTree()
		for range 40 {
			p := filepath.Join(randtree.Names[r.IntN(len(randtree.Names))], randtree.Names[r.IntN(len(randtree.Names))])
			if there, ok := x.Any("fdlpc"); ok && r.IntN(4) > 0 {
				p = there
			}
			opt := options[r.IntN(len(options))]
			opt.FollowLinks, opt.Wildcard = r.IntN(2) == 0, r.IntN(2) == 0
			want, wantErr := ChecksumDir(context.Background(), x.Root, p, opt)
			got, gotErr := known.checksum(context.Background(), directory(x.Root), p, opt)
			if want != got || fmt.Sprint(wantErr) != fmt.Sprint(gotErr) {
				t.Fatalf("%q with %+v is %s, %v; asked alone it is %s, %v; after\n%s", p, opt, got, gotErr, want, wantErr, strings.Join(x.Log, "\n"))
			}
			if r.IntN(4) == 0 {
				again, err := decodeTree(known.encode())
				if err != nil {
					t.Fatal(err)
				}
				if again.nodes != known.nodes {
					t.Fatalf("%d nodes became %d", known.nodes, again.nodes)
				}
				known = again
			}
		}
	})
}

func FuzzDecodeTree(f *testing.F) {
	f.Add(newTree().encode())
	f.Add(emptyTree().encode())
	big := newTree()
	big.root.listed = true
	big.root.children = []*node{{name: "a", kind: File, known: true}, {name: "b", kind: Symlink, target: "/x"}, {name: "c", kind: Dir, listed: true, known: true}}
	f.Add(big.encode())
	f.Fuzz(func(t *testing.T, dt []byte) {
		for _, dt := range [][]byte{dt, seal(dt)} {
			tr, err := decodeTree(dt)
			if err != nil {
				continue
			}
			again, err := decodeTree(tr.encode())
			if err != nil || string(again.encode()) != string(tr.encode()) {
				t.Fatalf("what was decoded does not come back: %v", err)
			}
			// A tree that knows too little asks for the disk, and never more.
			for _, opt := range options {
				_, _ = tr.checksum(context.Background(), noDisk{}, "a/*", opt)
			}
		}
	})
}

// seal puts the right checksum after a body, so that fuzzing gets past it.
func seal(dt []byte) []byte {
	return appendCRC(append([]byte(nil), dt...))
}

type noDisk struct{}

func (noDisk) open(context.Context) (string, error) { return "", errBadTree }
