package remotecache

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// finder finds records of a graph by keys of the solver. A key is known here by the
// record of its ID, or by what it was made of. It is for one goroutine at a time.
type finder struct {
	graph *Graph
	found map[*solver.CacheKey][]int32
}

func newFinder(g *Graph) *finder { return &finder{graph: g, found: map[*solver.CacheKey][]int32{}} }

// recordDigest is what a record of an operation's output is called.
func recordDigest(op digest.Digest, output solver.Index) digest.Digest {
	return digest.Digest(solver.NewCacheKey(op, output).ID)
}

// records returns the records that a key stands for. A key may be made of a chain of any
// length: this is a loop over a stack.
func (f *finder) records(key *solver.CacheKey) []int32 {
	type frame struct {
		key  *solver.CacheKey
		deps [][]solver.CacheKeyWithSelector
		open bool
	}
	stack := []frame{{key: key}}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if _, ok := f.found[top.key]; ok && !top.open {
			stack = stack[:len(stack)-1]
			continue
		}
		if !top.open {
			top.open, top.deps = true, top.key.Deps()
			f.found[top.key] = nil // a key that is made of itself is not found by that
			for _, alternatives := range top.deps {
				for _, in := range alternatives {
					if in.CacheKey.CacheKey != nil {
						stack = append(stack, frame{key: in.CacheKey.CacheKey})
					}
				}
			}
			continue
		}
		f.found[top.key] = f.ofKey(top.key, top.deps)
		stack = stack[:len(stack)-1]
	}
	return f.found[key]
}

// ofKey finds the records of a key whose inputs were found.
func (f *finder) ofKey(key *solver.CacheKey, deps [][]solver.CacheKeyWithSelector) []int32 {
	var out []int32
	if n, ok := f.graph.byID[key.ID]; ok {
		out = append(out, n)
	}
	if len(deps) == 0 {
		return out
	}
	to := recordDigest(key.Digest(), key.Output())
	var shared []int32
	for i, alternatives := range deps {
		next := f.reached(alternatives, i, to)
		if i > 0 {
			next = slices.DeleteFunc(next, func(n int32) bool {
				_, both := slices.BinarySearch(shared, n)
				return !both
			})
		}
		if shared = next; len(shared) == 0 {
			return out
		}
	}
	out = append(out, shared...)
	slices.Sort(out)
	return slices.Compact(out)
}

// reached are the records of an operation that an input leads to, sorted. Those of the keys
// are known.
func (f *finder) reached(alternatives []solver.CacheKeyWithSelector, input int, to digest.Digest) []int32 {
	var out []int32
	for _, in := range alternatives {
		for _, from := range f.found[in.CacheKey.CacheKey] {
			out = append(out, f.graph.above[step{link{from, in.Selector.String()}, input, to}]...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// query finds the records of an operation that an input leads to, or that has none.
func (f *finder) query(in []solver.CacheKeyWithSelector, input solver.Index, op digest.Digest, output solver.Index) []int32 {
	to := recordDigest(op, output)
	if len(in) == 0 {
		if n, ok := f.graph.roots[to]; ok {
			return []int32{n}
		}
		return nil
	}
	for _, k := range in {
		if k.CacheKey.CacheKey != nil {
			f.records(k.CacheKey.CacheKey)
		}
	}
	return f.reached(in, int(input), to)
}
