package remotecache

import (
	"cmp"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// A key may be collected under several names: as it was computed, and as it was found in
// caches, each with some of the alternatives of its inputs. And a step that an imported
// cache has need not be loaded for the ones above it to be found, so that nothing of it is
// in the cache of this builder: an export that left it out would make the next cache smaller
// with each build. So records that mean the same are made one, as BuildKit does, also with
// those of imports: what is found by the same operation over inputs of which each can be the
// same.

// imported is a result that an import has.
type imported struct {
	from  *Import
	graph *Graph
	result
}

// take adds the records of an import as nodes that go along where they belong to others. It
// has been read, or cannot be.
func (c *Collector) take(m *Import) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.finders {
		first := int32(len(c.nodes))
		for _, r := range f.graph.records {
			n := &node{c: c, n: int32(len(c.nodes)), digest: r.digest, foreign: true, inputs: make([][]link, len(r.inputs))}
			for i, alternatives := range r.inputs {
				for _, l := range alternatives {
					n.inputs[i] = append(n.inputs[i], link{first + l.from, l.selector})
				}
			}
			for _, res := range r.results {
				n.results = append(n.results, found{createdAt: res.createdAt, imported: &imported{m, f.graph, res}})
			}
			c.nodes = append(c.nodes, n)
		}
	}
}

// found is a result of a node: a remote, or one of an import.
type found struct {
	createdAt time.Time
	remote    *solver.Remote
	imported  *imported
}

// merged are the nodes, those that mean the same as one, without those of imports that
// belong to no other.
func (c *Collector) merged() []*node {
	u := newUnion(c.nodes)
	for n := range derive(c.nodes) {
		u.place(n)
	}
	whole := make([]*node, len(c.nodes))
	for n, node := range c.nodes {
		at := u.find(int32(n))
		if whole[at] == nil {
			whole[at] = u.empty(node)
		}
		u.join(whole[at], node)
	}
	for _, node := range whole {
		if node != nil {
			node.compact()
		}
	}
	return native(whole)
}

// native leaves out the nodes that no collected one is made of.
func native(all []*node) []*node {
	var out []*node
	place := make([]int32, len(all))
	var stack []int32
	for n, node := range all {
		place[n] = -1
		if node != nil && !node.foreign {
			stack = append(stack, int32(n))
		}
	}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if place[n] >= 0 {
			continue
		}
		place[n] = int32(len(out))
		out = append(out, all[n])
		for _, alternatives := range all[n].inputs {
			for _, l := range alternatives {
				stack = append(stack, l.from)
			}
		}
	}
	for _, node := range out {
		for _, alternatives := range node.inputs {
			for i := range alternatives {
				alternatives[i].from = place[alternatives[i].from]
			}
		}
	}
	return out
}

// union says which nodes mean the same.
type union struct {
	nodes  []*node
	parent []int32
	roots  map[digest.Digest]int32
	above  map[step][]int32
	listed map[entry]bool // what is in above
	// left is how many entries of above are still looked at.
	left int
}

// entry is a node in a list of union.above.
type entry struct {
	step
	node int32
}

// maxCompared bounds what is looked at to find the nodes that mean the same: a cache can be made
// so that each of its records has to be compared with each other one. Builds need a few for each
// record. What is not compared stays as it is.
const maxCompared = 1 << 22

func newUnion(nodes []*node) *union {
	u := &union{
		nodes: nodes, parent: make([]int32, len(nodes)), roots: map[digest.Digest]int32{},
		above: map[step][]int32{}, listed: map[entry]bool{}, left: maxCompared,
	}
	for i := range u.parent {
		u.parent[i] = int32(i)
	}
	return u
}

// find returns the node that a node is one with.
func (u *union) find(n int32) int32 {
	for u.parent[n] != n {
		u.parent[n] = u.parent[u.parent[n]]
		n = u.parent[n]
	}
	return n
}

// place makes a node one with those before it that mean the same.
func (u *union) place(n int32) {
	node := u.nodes[n]
	if len(node.inputs) == 0 {
		if first, ok := u.roots[node.digest]; ok {
			u.parent[n] = first
		} else {
			u.roots[node.digest] = n
		}
		return
	}
	same := u.same(node)
	for _, o := range same {
		if o = u.find(o); o != u.find(n) {
			u.parent[u.find(n)] = o
		}
	}
	at := u.find(n)
	for i, alternatives := range node.inputs {
		for _, l := range alternatives {
			s := step{link{u.find(l.from), l.selector}, i, node.digest}
			if e := (entry{s, at}); !u.listed[e] {
				u.listed[e] = true
				u.above[s] = append(u.above[s], at)
			}
		}
	}
}

// same are the nodes before one of which each input can be the same as its own. The input that
// fewest nodes are above of is looked at first.
func (u *union) same(n *node) []int32 {
	order := make([]int, len(n.inputs))
	counts := make([]int, len(n.inputs))
	for i := range order {
		order[i], counts[i] = i, u.count(n, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(counts[a], counts[b]) })
	var shared []int32
	for at, i := range order {
		if u.left -= counts[i]; u.left < 0 {
			return nil
		}
		next := u.over(n, i)
		if at > 0 {
			next = slices.DeleteFunc(next, func(o int32) bool {
				_, both := slices.BinarySearch(shared, o)
				return !both
			})
		}
		if shared = next; len(shared) == 0 {
			return nil
		}
	}
	return slices.DeleteFunc(shared, func(o int32) bool { return len(u.nodes[o].inputs) != len(n.inputs) })
}

// count is how many entries over looks at.
func (u *union) count(n *node, input int) (count int) {
	for _, l := range n.inputs[input] {
		count += len(u.above[step{link{u.find(l.from), l.selector}, input, n.digest}])
	}
	return count
}

// over are the nodes before n that an input of it leads to as well, sorted.
func (u *union) over(n *node, input int) (all []int32) {
	for _, l := range n.inputs[input] {
		for _, o := range u.above[step{link{u.find(l.from), l.selector}, input, n.digest}] {
			all = append(all, u.find(o))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// empty is the node that those that are one with n become.
func (u *union) empty(n *node) *node {
	return &node{c: n.c, digest: n.digest, foreign: true, inputs: make([][]link, len(n.inputs))}
}

// join adds one of them.
func (u *union) join(to, n *node) {
	to.foreign = to.foreign && n.foreign
	to.results = append(to.results, n.results...)
	for i, alternatives := range n.inputs {
		for _, l := range alternatives {
			to.inputs[i] = append(to.inputs[i], link{u.find(l.from), l.selector})
		}
	}
}

// compact leaves out links that are there twice.
func (n *node) compact() {
	for i, alternatives := range n.inputs {
		slices.SortFunc(alternatives, func(a, b link) int {
			return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.selector, b.selector))
		})
		n.inputs[i] = slices.Compact(alternatives)
	}
}
