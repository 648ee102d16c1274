package graph

import (
	"fmt"
	"math/rand/v2"
)

// Shape is the name of a family of graphs.
type Shape string

// The shapes. Each has exactly the number of vertices it is asked for, and one
// root, so that one Build solves all.
const (
	// Chain: each vertex depends on the one before.
	Chain Shape = "chain"
	// FanIn: a root over leaves.
	FanIn Shape = "fan-in"
	// Tree: a root over trees, ten a vertex.
	Tree Shape = "tree"
	// Layered: layers of LayerWidth vertices, each over two to four of the layer
	// before, and a root over the last.
	Layered Shape = "layered"
	// Ladder: diamonds, one on top of the other. A rung is two vertices over the
	// top of the rung before, and one that joins them.
	Ladder Shape = "ladder"
	// FanOut: vertices over a single one, and a root over them all.
	FanOut Shape = "fan-out"
)

// Shapes lists them all.
var Shapes = []Shape{Chain, FanIn, Tree, Layered, Ladder, FanOut}

const (
	// TreeWidth is the number of inputs of a vertex of a tree.
	TreeWidth = 10
	// LayerWidth is the number of vertices of a layer.
	LayerWidth = 100
	// MinLen is the least number of vertices that every shape can have.
	MinLen = 5
)

// New makes the graph of n vertices of a shape.
func New(shape Shape, n int, seed uint64) (*Graph, error) {
	if n < MinLen {
		return nil, fmt.Errorf("graph: %d vertices: at least %d are needed", n, MinLen)
	}
	inputs := make([][]int32, n)
	switch shape {
	case Chain:
		for v := 1; v < n; v++ {
			inputs[v] = []int32{int32(v - 1)}
		}
	case FanIn:
		inputs[n-1] = upTo(n - 1)
	case Tree:
		tree(inputs)
	case Layered:
		layered(inputs, rand.New(rand.NewPCG(seed, uint64(n))))
	case Ladder:
		ladder(inputs)
	case FanOut:
		for v := 1; v < n-1; v++ {
			inputs[v] = []int32{0}
		}
		inputs[n-1] = upTo(n - 1)[1:]
	default:
		return nil, fmt.Errorf("graph: no shape %q", shape)
	}
	g := flatten(shape, inputs)
	g.number(seed)
	g.define("")
	return g, nil
}

func upTo(n int) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = int32(i)
	}
	return list
}

// tree numbers a heap from its end: the root is last, and the inputs of the
// vertex at place i of the heap are at TreeWidth*i+1 and after it.
func tree(inputs [][]int32) {
	n := len(inputs)
	for i := range inputs {
		for c := TreeWidth*i + 1; c <= TreeWidth*i+TreeWidth && c < n; c++ {
			inputs[n-1-i] = append(inputs[n-1-i], int32(n-1-c))
		}
	}
}

// layered gives each vertex one input by a shuffle of the layer before, so that
// each vertex of that layer is used, and one to three others by chance.
func layered(inputs [][]int32, rnd *rand.Rand) {
	root := len(inputs) - 1
	var before, layer []int32
	var shuffle []int
	for v := range root {
		if len(layer) == LayerWidth {
			before, layer = layer, nil
			shuffle = rnd.Perm(LayerWidth)
		}
		if before != nil {
			ins := []int32{before[shuffle[len(layer)]]}
			for want := 2 + rnd.IntN(3); len(ins) < want; {
				if in := before[rnd.IntN(LayerWidth)]; !contains(ins, in) {
					ins = append(ins, in)
				}
			}
			inputs[v] = ins
		}
		layer = append(layer, int32(v))
	}
	// The last layer may be a short one: the root takes the rest from below it.
	if before != nil {
		for i := len(layer); i < LayerWidth; i++ {
			layer = append(layer, before[shuffle[i]])
		}
	}
	inputs[root] = layer
}

func contains(list []int32, v int32) bool {
	for _, w := range list {
		if w == v {
			return true
		}
	}
	return false
}

// ladder begins with a vertex, or a short chain where n asks for it, and puts
// as many rungs on it as there is room for.
func ladder(inputs [][]int32) {
	n := len(inputs)
	top := (n - 1) % 3
	for v := 1; v <= top; v++ {
		inputs[v] = []int32{int32(v - 1)}
	}
	for v := top + 1; v < n; v += 3 {
		inputs[v] = []int32{int32(v - 1)}
		inputs[v+1] = []int32{int32(v - 1)}
		inputs[v+2] = []int32{int32(v), int32(v + 1)}
	}
}

// flatten numbers the vertices in the order in which a walk from the root
// leaves them, and packs their inputs. It does not recurse: a chain may be a
// million deep.
func flatten(shape Shape, inputs [][]int32) *Graph {
	n := len(inputs)
	g := &Graph{Shape: shape, first: make([]int32, 1, n+1)}
	number := make([]int32, n) // 1 + the number; 0 for not yet
	next := make([]int32, n)   // the input to look at next
	stack := []int32{int32(n - 1)}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		if int(next[v]) < len(inputs[v]) {
			in := inputs[v][next[v]]
			next[v]++
			if number[in] == 0 {
				stack = append(stack, in)
			}
			continue
		}
		stack = stack[:len(stack)-1]
		if number[v] != 0 {
			continue
		}
		for _, in := range inputs[v] {
			g.inputs = append(g.inputs, number[in]-1)
		}
		g.first = append(g.first, int32(len(g.inputs)))
		number[v] = int32(len(g.first) - 1)
	}
	return g
}
