package treediff

import (
	"cmp"
	"context"
	"slices"

	"github.com/tenonbuild/tenon/engine/contenthash"
)

// Nodes is a tree in memory, which must not change any more. Nil is none.
func Nodes(root *contenthash.Node) Tree {
	if root == nil {
		return nil
	}
	return &node{n: root}
}

// node is a Node that remembers its sum, which otherwise would be computed again at each
// level above it.
type node struct {
	n        *contenthash.Node
	children []Child // by name, once they were asked for
	sum      contenthash.Sum
	summed   bool
}

func (t *node) Entry(context.Context) (*contenthash.Entry, error) { return &t.n.Entry, nil }

func (t *node) Children(context.Context) ([]Child, error) { return t.list(), nil }

func (t *node) list() []Child {
	if t.children == nil {
		t.children = make([]Child, len(t.n.Children))
		for i, c := range t.n.Children {
			t.children[i] = Child{Name: c.Name, Tree: &node{n: c}}
		}
		slices.SortFunc(t.children, func(a, b Child) int { return cmp.Compare(a.Name, b.Name) })
	}
	return t.children
}

func (t *node) Sum() (contenthash.Sum, bool) {
	if t.summed {
		return t.sum, true
	}
	t.sum, t.summed = t.n.Entry.Sum(), true
	if t.n.Entry.Kind == contenthash.Dir {
		t.sum = contenthash.SumDir(t.sum, func(yield func(string, contenthash.Sum) bool) {
			for _, c := range t.list() {
				if sum, _ := c.Tree.Sum(); !yield(c.Name, sum) {
					return
				}
			}
		})
	}
	return t.sum, true
}
