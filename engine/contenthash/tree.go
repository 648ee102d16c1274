package contenthash

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// node is a path of a tree, as far as it has been read. A tree never changes: what
// a node knows stays true.
type node struct {
	parent   *node // nil for the root
	name     string
	kind     Kind
	target   string  // of symlinks
	header   Sum     // the Entry's, if known
	peer     Sum     // what BuildKit has for it, if known
	sum      Sum     // of a directory and all below, if summed
	peerSum  Sum     // what BuildKit has for that, if peerSummed
	children []*node // by name, if listed
	known    bool
	listed   bool
	summed   bool

	peerSummed bool
}

// rel returns the node's path below the root, as the operating system takes it.
func (n *node) rel() string {
	if n.parent == nil {
		return ""
	}
	return filepath.Join(n.parent.rel(), n.name)
}

// take makes an entry known.
func (n *node) take(e *Entry) { n.header, n.peer, n.known = e.Sum(), e.buildKit(), true }

func (n *node) child(name string) *node {
	i, ok := slices.BinarySearchFunc(n.children, name, func(c *node, name string) int { return cmp.Compare(c.name, name) })
	if !ok {
		return nil
	}
	return n.children[i]
}

// tree is the hash tree of one tree of files. Whoever uses it has it alone.
type tree struct {
	root *node
	// times: they count in this tree.
	times bool
	// sent: a client has sent what is in the root, and not the root.
	sent bool
	// nodes counts what is in memory.
	nodes int
	// unsaved is about how many bytes were read to learn what is not kept on disk yet.
	unsaved int64
}

// nodeCost is about what a node takes when it is encoded.
const nodeCost = 96

func newTree() *tree {
	return &tree{root: &node{kind: Dir}, nodes: 1}
}

// emptyTree is the tree of a nil Ref. Its root is as a new snapshot's.
func emptyTree() *tree {
	t := newTree()
	t.root.listed, t.root.known = true, true
	t.root.take(&Entry{Kind: Dir, Mode: 0o755})
	return t
}

// disk is where a tree can be read. It is opened when the tree is not known enough.
type disk interface {
	// open returns the directory that is the tree's root.
	open(ctx context.Context) (dir string, err error)
}

// list makes the names in a directory known.
func (t *tree) list(ctx context.Context, d disk, n *node) error {
	if n.listed || n.kind != Dir {
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	root, err := d.open(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(root, n.rel())
	found, err := os.ReadDir(dir)
	if err != nil {
		return inTree(root, err)
	}
	children := make([]*node, 0, len(found))
	for _, f := range found {
		c := &node{parent: n, name: f.Name(), kind: KindOf(f.Type())}
		if c.kind == 0 {
			return fmt.Errorf("/%s is of an unknown type: %v", filepath.Join(n.rel(), c.name), f.Type())
		}
		if c.kind == Symlink {
			if c.target, err = os.Readlink(filepath.Join(dir, c.name)); err != nil {
				return inTree(root, err)
			}
		}
		children = append(children, c)
	}
	slices.SortFunc(children, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	n.children, n.listed = children, true
	t.nodes += len(children)
	t.unsaved += nodeCost * int64(len(children))
	return nil
}

// inTree makes an error name paths of the tree, not of where it was mounted.
func inTree(root string, err error) error {
	if pe, ok := err.(*fs.PathError); ok {
		return &fs.PathError{Op: pe.Op, Path: "/" + strings.TrimPrefix(strings.TrimPrefix(pe.Path, root), "/"), Err: pe.Err}
	}
	return err
}

// learn makes the headers of nodes known, several at a time. What was learned before
// an error stays.
func (t *tree) learn(ctx context.Context, d disk, nodes []*node) error {
	if len(nodes) == 0 {
		return nil
	}
	root, err := d.open(ctx)
	if err != nil {
		return err
	}
	var read atomic.Int64
	defer func() { t.unsaved += read.Load() }()
	eg, each := errgroup.WithContext(ctx)
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for _, n := range nodes {
		if each.Err() != nil {
			break
		}
		eg.Go(func() error {
			e, err := readEntry(each, filepath.Join(root, n.rel()), t.times)
			if err != nil {
				return inTree(root, err)
			}
			n.take(e)
			read.Add(nodeCost + e.Size)
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// whole returns the sum of a node and all that is below it.
func (t *tree) whole(ctx context.Context, d disk, n *node) (Sum, error) {
	var unknown []*node
	if err := t.collect(ctx, d, n, &unknown); err != nil {
		return Sum{}, err
	}
	if err := t.learn(ctx, d, unknown); err != nil {
		return Sum{}, err
	}
	return n.total(), nil
}

// collect lists all that is below n and adds the nodes whose headers are not known.
func (t *tree) collect(ctx context.Context, d disk, n *node, unknown *[]*node) error {
	if n.summed {
		return nil
	}
	if !n.known {
		*unknown = append(*unknown, n)
	}
	if err := t.list(ctx, d, n); err != nil {
		return err
	}
	for _, c := range n.children {
		if err := t.collect(ctx, d, c, unknown); err != nil {
			return err
		}
	}
	return nil
}

// total is the sum of a node of which everything is known.
func (n *node) total() Sum {
	if n.kind != Dir {
		return n.header
	}
	if !n.summed {
		n.sum = SumDir(n.header, func(yield func(string, Sum) bool) {
			for _, c := range n.children {
				if !yield(c.name, c.total()) {
					return
				}
			}
		})
		n.summed = true
	}
	return n.sum
}
