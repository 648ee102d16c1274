package solver

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/opencontainers/go-digest"
)

// plan is a graph as it was read from the caller's vertices: each vertex once,
// inputs before what uses them. Reading calls the caller's code, so it is done
// without any lock.
type plan struct {
	items []planItem
	index map[digest.Digest]int32
}

type planItem struct {
	vtx    Vertex
	digest digest.Digest
	name   string
	inputs []planEdge
	opts   VertexOptions
}

type planEdge struct {
	item  int32
	index Index
}

// unread marks vertices whose inputs are being read, in plan.index.
const unread = -1

// planFrame is a vertex whose inputs are being read.
type planFrame struct {
	item   planItem
	inputs []Edge
	next   int
}

// newPlan reads the graph below an edge. It needs no stack for its depth.
func newPlan(e Edge) (p *plan, err error) {
	p = &plan{index: map[digest.Digest]int32{}}
	defer recovered("a method of a vertex", &err)
	if err := checkEdge(e); err != nil {
		return nil, err
	}
	top, err := readVertex(e.Vertex)
	if err != nil {
		return nil, err
	}
	p.index[top.item.digest] = unread
	stack := []planFrame{top}
	for len(stack) > 0 {
		f := &stack[len(stack)-1]
		if f.next == len(f.inputs) {
			p.index[f.item.digest] = int32(len(p.items))
			p.items = append(p.items, f.item)
			stack = stack[:len(stack)-1]
			continue
		}
		in := f.inputs[f.next]
		if err := checkEdge(in); err != nil {
			return nil, fmt.Errorf("input %d of %s: %w", f.next, f.item.label(), err)
		}
		dgst := in.Vertex.Digest()
		i, ok := p.index[dgst]
		switch {
		case !ok:
			below, err := readVertex(in.Vertex)
			if err != nil {
				return nil, fmt.Errorf("input %d of %s: %w", f.next, f.item.label(), err)
			}
			p.index[dgst] = unread
			stack = append(stack, below)
		case i == unread:
			return nil, cycleError(stack, dgst)
		default:
			f.item.inputs[f.next] = planEdge{item: i, index: in.Index}
			f.next++
		}
	}
	return p, nil
}

func checkEdge(e Edge) error {
	if isNil(e.Vertex) {
		return fmt.Errorf("an edge without a vertex")
	}
	if e.Index < 0 {
		return fmt.Errorf("output %d of a vertex: outputs are counted from 0", e.Index)
	}
	return nil
}

func readVertex(v Vertex) (planFrame, error) {
	f := planFrame{item: planItem{vtx: v, digest: v.Digest(), name: v.Name(), opts: v.Options()}, inputs: v.Inputs()}
	if err := checkDigest(f.item.digest); err != nil {
		return planFrame{}, fmt.Errorf("vertex %q: digest: %w", f.item.name, err)
	}
	if len(f.inputs) > 0 {
		f.item.inputs = make([]planEdge, len(f.inputs))
	}
	return f, nil
}

func (it *planItem) label() string {
	if it.name != "" {
		return fmt.Sprintf("%s (%s)", it.name, it.digest)
	}
	return string(it.digest)
}

// cycleError names the cycle that closes at dgst.
func cycleError(stack []planFrame, dgst digest.Digest) error {
	var labels []string
	for i := len(stack) - 1; i >= 0; i-- {
		labels = append(labels, stack[i].item.label())
		if stack[i].item.digest == dgst {
			break
		}
	}
	return fmt.Errorf("the graph contains itself: %s needs %s", strings.Join(labels, ", which is needed by "), labels[0])
}

// isNil also finds a nil pointer behind an interface.
func isNil(x any) bool {
	if x == nil {
		return true
	}
	switch v := reflect.ValueOf(x); v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Interface, reflect.Slice, reflect.Chan:
		return v.IsNil()
	}
	return false
}
