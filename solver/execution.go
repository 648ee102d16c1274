package solver

import "slices"

// execution is one run of an op, and its outputs. It belongs to no vertex: every
// vertex that waits for it or uses its outputs holds it, and the one whose op it
// runs may leave like any other. Guarded by Solver.mu.
type execution struct {
	runner  *vertex     // whose op it is; may be released already
	names   few[string] // under which it stands in Solver.execs
	call    *execCall   // nil once it is done
	holders few[*vertex]
	outputs outputs
	// saved are the keys of the output that was asked for first; none if it was not
	// saved. Exportable keys are made of them when they are asked for, unless a cache
	// has returned others.
	first Index
	saved few[*CacheKey]

	// rare is what few executions have; nil until there is something. See more.
	rare *rareExecution
}

// outputs are what an op returned.
type outputs struct {
	n       int
	first   *SharedResult // nil where the op returned nothing
	further *[]*SharedResult
}

// share makes outputs of an op shareable.
func share(results []Result) outputs {
	out := outputs{n: len(results)}
	for i, r := range results {
		var shared *SharedResult
		if !isNil(r) {
			shared = NewSharedResult(r)
		}
		switch i {
		case 0:
			out.first = shared
		case 1:
			out.further = &[]*SharedResult{shared}
		default:
			*out.further = append(*out.further, shared)
		}
	}
	return out
}

// at is an output; nil if there is none of the index, or the op returned nothing
// for it.
func (o *outputs) at(i Index) *SharedResult {
	switch {
	case int(i) >= o.n:
		return nil
	case i == 0:
		return o.first
	}
	return (*o.further)[i-1]
}

// all yields the outputs that there are.
func (o *outputs) all(yield func(*SharedResult) bool) {
	if o.first != nil && !yield(o.first) || o.further == nil {
		return
	}
	for _, out := range *o.further {
		if out != nil && !yield(out) {
			return
		}
	}
}

// rareExecution is the part of an execution that only ops have that fail, return
// several outputs, or build something.
type rareExecution struct {
	err      error
	savedToo map[Index][]ExportableCacheKey // the keys of further outputs, or that a cache has returned
	// subs are the vertices the op has built, exporters what exports them.
	subs      []*vertex
	exporters []CacheExporter
}

// noRareExecution is read in place of what is not there. It is never written to.
var noRareExecution rareExecution

// has reads the rare part of an execution.
func (x *execution) has() *rareExecution {
	if x.rare == nil {
		return &noRareExecution
	}
	return x.rare
}

// more returns the rare part of an execution to be written to.
func (x *execution) more() *rareExecution {
	if x.rare == nil {
		x.rare = &rareExecution{}
	}
	return x.rare
}

// savedUnder are the keys an output was saved under; nil if it was not.
func (x *execution) savedUnder(output Index) []ExportableCacheKey {
	if saved := x.has().savedToo[output]; saved != nil || output != x.first || x.saved.empty() {
		return saved
	}
	return newExportGroup(slices.Collect(x.saved.all))
}

// savedID is the ID of the first key an output was saved under; "" if it was not.
func (x *execution) savedID(output Index) string {
	if saved := x.has().savedToo[output]; saved != nil {
		return saved[0].ID
	}
	if output != x.first || x.saved.empty() {
		return ""
	}
	return x.saved.one.ID
}

func (x *execution) setSaved(output Index, keys []ExportableCacheKey) {
	r := x.more()
	if r.savedToo == nil {
		r.savedToo = map[Index][]ExportableCacheKey{}
	}
	r.savedToo[output] = keys
}
