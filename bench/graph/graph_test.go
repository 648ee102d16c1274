package graph

import (
	"reflect"
	"testing"

	"github.com/opencontainers/go-digest"
)

// lens are sizes that leave odd ends in every shape.
var lens = []int{MinLen, 6, 7, 11, 99, 100, 101, 102, 150, 201, 202, 1000, 1001}

func newGraph(t *testing.T, shape Shape, n int) *Graph {
	t.Helper()
	g, err := New(shape, n, 1)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestEveryVertexIsBelowTheRoot(t *testing.T) {
	for _, shape := range Shapes {
		for _, n := range lens {
			g := newGraph(t, shape, n)
			if g.Len() != n || g.Root() != n-1 {
				t.Fatalf("%s: %d vertices and root %d, want %d and %d", shape, g.Len(), g.Root(), n, n-1)
			}
			used := make([]bool, n)
			for v := range n {
				for _, in := range g.Inputs(v) {
					if int(in) >= v {
						t.Fatalf("%s %d: input %d of %d is not before it", shape, n, in, v)
					}
					used[in] = true
				}
			}
			for v := range n - 1 {
				if !used[v] {
					t.Fatalf("%s %d: nothing uses %d", shape, n, v)
				}
			}
		}
	}
}

func TestShapes(t *testing.T) {
	for _, tc := range []struct {
		shape Shape
		n     int
		// depth is the number of vertices on the longest way from the root.
		depth, leaves, edges int
	}{
		{Chain, 100, 100, 1, 99},
		{FanIn, 100, 2, 99, 99},
		{FanOut, 100, 3, 1, 196},
		{Tree, 1111, 4, 1000, 1110},
		{Tree, 12, 3, 10, 11},
		{Ladder, 31, 21, 1, 40},
		{Ladder, 33, 23, 1, 42},
	} {
		g := newGraph(t, tc.shape, tc.n)
		if d, l := depth(g), leaves(g); d != tc.depth || l != tc.leaves || g.Edges() != tc.edges {
			t.Errorf("%s %d: depth %d, %d leaves, %d edges, want %d, %d, %d", tc.shape, tc.n, d, l, g.Edges(), tc.depth, tc.leaves, tc.edges)
		}
	}
}

func TestLayered(t *testing.T) {
	g := newGraph(t, Layered, 1001)
	if d, l := depth(g), leaves(g); d != 11 || l != LayerWidth {
		t.Errorf("depth %d and %d leaves, want 11 and %d", d, l, LayerWidth)
	}
	seen := map[int]int{}
	for v := range g.Root() {
		ins := g.Inputs(v)
		seen[len(ins)]++
		distinct := map[int32]bool{}
		for _, in := range ins {
			distinct[in] = true
		}
		if len(distinct) != len(ins) {
			t.Errorf("vertex %d has an input twice: %v", v, ins)
		}
	}
	for n, count := range seen {
		if n == 1 || n > 4 {
			t.Errorf("%d vertices have %d inputs", count, n)
		}
	}
}

func depth(g *Graph) int {
	d := make([]int, g.Len())
	for v := range d {
		for _, in := range g.Inputs(v) {
			d[v] = max(d[v], d[in])
		}
		d[v]++
	}
	return d[g.Root()]
}

func leaves(g *Graph) (n int) {
	for v := range g.Len() {
		if len(g.Inputs(v)) == 0 {
			n++
		}
	}
	return n
}

func TestDigests(t *testing.T) {
	for _, shape := range Shapes {
		g, again := newGraph(t, shape, 200), newGraph(t, shape, 200)
		if !reflect.DeepEqual(g, again) {
			t.Errorf("%s: not the same twice", shape)
		}
		seen := map[digest.Digest]bool{}
		for v := range g.Len() {
			for _, d := range []digest.Digest{g.Ops.At(v), g.Definitions.At(v), g.Contents.At(v)} {
				if err := d.Validate(); err != nil || seen[d] {
					t.Fatalf("%s: digest %s occurs twice, or is none: %v", shape, d, err)
				}
				seen[d] = true
			}
		}
	}
}

func TestChangeReachesWhatIsAbove(t *testing.T) {
	for _, shape := range Shapes {
		g := newGraph(t, shape, 200)
		c := g.Change()
		ops, definitions := 0, 0
		for v := range g.Len() {
			if g.Ops.At(v) != c.Ops.At(v) {
				ops++
			}
			if g.Definitions.At(v) != c.Definitions.At(v) {
				definitions++
			}
			if g.Contents.At(v) != c.Contents.At(v) {
				t.Errorf("%s: the content of %d changed", shape, v)
			}
		}
		if above := g.Above(g.Leaf()); ops != 1 || definitions != above {
			t.Errorf("%s: %d ops and %d definitions changed, want 1 and %d", shape, ops, definitions, above)
		}
	}
}

func TestSaltedHasEqualOps(t *testing.T) {
	g := newGraph(t, Ladder, 31)
	s := g.Salted("x")
	for v := range g.Len() {
		if g.Ops.At(v) != s.Ops.At(v) || g.Definitions.At(v) == s.Definitions.At(v) {
			t.Fatalf("vertex %d: an op differs, or a definition does not", v)
		}
	}
}

func TestBadRequests(t *testing.T) {
	if _, err := New(Chain, MinLen-1, 1); err == nil {
		t.Error("a graph that is too small was made")
	}
	if _, err := New("star", 10, 1); err == nil {
		t.Error("a shape that is none was made")
	}
}
