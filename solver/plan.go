package solver

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver/internal/rows"
)

// plan is a graph as it was read from the caller's vertices, each of them once.
// Reading calls the caller's code, so it is done without any lock.
type plan struct {
	items rows.Column[planItem]
	// order has the items' numbers, inputs before what uses them.
	order []uint32
	room  []planEdge // for the inputs of items to come
	index rows.Index[uint32]
}

// find returns the number of the item of a digest; 0 if there is none.
func (p *plan) find(dgst digest.Digest, hash uint32) uint32 {
	return p.index.Find(hash, func(i uint32) bool { return p.items.At(i).digest == dgst })
}

type planItem struct {
	vtx    Vertex
	digest digest.Digest
	name   string
	// opts is nil where all options have their zero value.
	opts   *VertexOptions
	inputs []planEdge
	hash   uint32 // rows.Hash(digest)
	open   bool   // its inputs are being read
}

type planEdge struct {
	item  uint32
	index Index
}

// planFrame is an item whose inputs are being read.
type planFrame struct {
	item   uint32
	next   int32
	inputs []Edge
}

// planSteps is after how many steps the reading of a graph lets others run.
const planSteps = 512

// top is the item the plan was made for.
func (p *plan) top() *planItem { return p.items.At(1) }

// newPlan reads the graph below an edge. It needs no stack for its depth.
func newPlan(e Edge) (p *plan, err error) {
	p = &plan{}
	defer recovered("a method of a vertex", &err)
	if err := checkEdge(e); err != nil {
		return nil, err
	}
	dgst := e.Vertex.Digest()
	inputs, err := p.read(e.Vertex, dgst, rows.Hash(string(dgst)))
	if err != nil {
		return nil, err
	}
	stack := []planFrame{{item: 1, inputs: inputs}}
	for n := 1; len(stack) > 0; n++ {
		if n%planSteps == 0 {
			runtime.Gosched() // somebody may wait for a small build
		}
		f := &stack[len(stack)-1]
		it := p.items.At(f.item)
		if int(f.next) == len(f.inputs) {
			it.open = false
			p.order = append(p.order, f.item)
			stack = stack[:len(stack)-1]
			continue
		}
		in := f.inputs[f.next]
		if err := checkEdge(in); err != nil {
			return nil, fmt.Errorf("input %d of %s: %w", f.next, it.label(), err)
		}
		dgst := in.Vertex.Digest()
		hash := rows.Hash(string(dgst))
		i := p.find(dgst, hash)
		if i == 0 {
			i = p.items.End()
			inputs, err := p.read(in.Vertex, dgst, hash)
			if err != nil {
				return nil, fmt.Errorf("input %d of %s: %w", f.next, it.label(), err)
			}
			stack = append(stack, planFrame{item: i, inputs: inputs})
			f = &stack[len(stack)-2]
		} else if p.items.At(i).open {
			return nil, p.cycleError(stack, i)
		}
		it.inputs[f.next] = planEdge{item: i, index: in.Index}
		f.next++
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

// read adds a vertex. Its inputs, which it returns, are to be read next.
func (p *plan) read(v Vertex, dgst digest.Digest, hash uint32) ([]Edge, error) {
	n, it := p.items.Add(false)
	inputs := v.Inputs()
	*it = planItem{vtx: v, digest: dgst, name: v.Name(), inputs: p.edges(len(inputs)), hash: hash, open: true}
	if err := checkDigest(dgst); err != nil {
		return nil, fmt.Errorf("vertex %q: digest: %w", it.name, err)
	}
	if again := v.Digest(); again != dgst {
		return nil, fmt.Errorf("vertex %q: its digest was %s, and is %s when asked again: a vertex must not change", it.name, dgst, again)
	}
	if opts := v.Options(); opts.IgnoreCache || opts.CacheSources != nil || opts.ExportCache != nil || opts.Weight != 0 {
		kept := opts // a copy, so that what is not kept is not allocated
		it.opts = &kept
	}
	p.index.Insert(hash, n)
	return inputs, nil
}

// edges makes room for the inputs of an item.
func (p *plan) edges(n int) []planEdge {
	if n > len(p.room) {
		p.room = make([]planEdge, max(n, min(p.items.Len(), rows.ChunkRows)))
	}
	edges := p.room[:n:n]
	p.room = p.room[n:]
	return edges
}

func (it *planItem) options() VertexOptions {
	if it.opts == nil {
		return VertexOptions{}
	}
	return *it.opts
}

// cycleError names the cycle that closes at an item.
func (p *plan) cycleError(stack []planFrame, closes uint32) error {
	var labels []string
	for i := len(stack) - 1; i >= 0; i-- {
		labels = append(labels, p.items.At(stack[i].item).label())
		if stack[i].item == closes {
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
