package contenthash

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tenonbuild/tenon/engine/store"
)

// Node is a path of a tree that was read elsewhere, with all that is below it.
type Node struct {
	Name     string // "" for the root
	Entry    Entry
	Children []*Node // of a directory, in any order until Sum or Keep is called
}

// Sum returns what Checksum says of the path that n is.
func (n *Node) Sum() Sum {
	if n.Entry.Kind != Dir {
		return n.Entry.Sum()
	}
	n.sort()
	return SumDir(n.Entry.Sum(), func(yield func(string, Sum) bool) {
		for _, c := range n.Children {
			if !yield(c.Name, c.Sum()) {
				return
			}
		}
	})
}

func (n *Node) sort() {
	slices.SortFunc(n.Children, func(a, b *Node) int { return cmp.Compare(a.Name, b.Name) })
}

// Keep keeps with ref what its tree is, so that Checksum need not read it. Root is
// trusted, so it has to be what was written into ref's tree. What is in it was sent by a
// client, which for BuildKit has no root. Both are borrowed.
func Keep(ref *store.Ref, root *Node) error {
	t := &tree{sent: true}
	t.root = t.take(nil, root)
	if err := ref.SetValue(valueKey, t.encode()); err != nil {
		return fmt.Errorf("keeping the content digests of %s: %w", ref.ID(), err)
	}
	return nil
}

func (t *tree) take(parent *node, from *Node) *node {
	t.nodes++
	n := &node{parent: parent, name: from.Name, kind: from.Entry.Kind, target: from.Entry.Target}
	n.take(&from.Entry)
	if n.kind == Dir {
		from.sort()
		n.listed = true
		n.children = make([]*node, 0, len(from.Children))
		for _, c := range from.Children {
			n.children = append(n.children, t.take(n, c))
		}
	}
	return n
}
