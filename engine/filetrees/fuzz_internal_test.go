package filetrees

import (
	"testing"

	"github.com/tenonbuild/tenon/engine/contenthash"
)

func FuzzDecode(f *testing.F) {
	file := &contenthash.Node{Name: "f", Entry: contenthash.Entry{Kind: contenthash.File, Size: 3, Xattrs: map[string][]byte{"user.x": {1}}}}
	link := &contenthash.Node{Name: "l", Entry: contenthash.Entry{Kind: contenthash.Symlink, Target: "f"}}
	sub := &contenthash.Node{Name: "d", Entry: contenthash.Entry{Kind: contenthash.Dir}, Children: []*contenthash.Node{file, link}}
	root := &contenthash.Node{Entry: contenthash.Entry{Kind: contenthash.Dir}, Children: []*contenthash.Node{sub}}
	e, err := encode(root, func(encoded) error { return nil })
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e.listing)
	s := In(f.TempDir())
	f.Fuzz(func(t *testing.T, dt []byte) {
		_, _ = s.decode(dt)
		if listing, err := open(seal(dt)); err != nil || string(listing) != string(dt) {
			t.Fatalf("what was sealed does not come back: %v", err)
		}
	})
}
