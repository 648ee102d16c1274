package contenthash

import (
	"strings"

	"github.com/tenonbuild/tenon/engine/store"
)

// Known is what is kept with a Ref of its tree.
type Known struct{ root *node }

// Kept returns what is kept with ref, and reads nothing of its tree. Ref is borrowed.
func Kept(ref *store.Ref) Known { return Known{load(ref).root} }

// Sum returns the Entry's sum of a path, as it is in the tree, without following links;
// of a directory it is that of the directory alone. False says that it is not kept, or
// that there is no such path. It may be called concurrently.
func (k Known) Sum(path string) (Sum, bool) {
	n := k.root
	for name := range strings.SplitSeq(path, "/") {
		if n = n.child(name); n == nil {
			return Sum{}, false
		}
	}
	return n.header, n.known
}
