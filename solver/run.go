package solver

import (
	"slices"

	"github.com/tenonbuild/tenon/solver/internal/graph"
)

// run is one run of an op, and its outputs. It belongs to no vertex: every vertex that
// waits for it or uses its outputs holds it, and the one whose op it runs may leave
// like any other. Guarded by Solver.mu.
type run struct {
	op *opState // that was run
	// names are those under which it stands in Solver.runs.
	names shortList[string]
	call  *runCall // nil once it is done
	// saved are the keys of the output that was asked for first; none if it was not
	// saved. Exportable keys are made of them when they are asked for, unless a cache
	// has returned others.
	saved shortList[*CacheKey]
	// extra is what few runs have; nil until there is something. See needExtra.
	extra *runExtra

	output0 SharedResult // its main is nil where the op returned nothing
	outputs int32        // how many the op returned
	first   int32        // the output that was asked for first
	// runner is the vertex whose op it was, until that is released.
	runner graph.Vertex
	// holders counts the vertices that use it.
	holders int32
	// ignoring: it was run without reading caches, and so serves everybody.
	ignoring bool
	// left says that nobody waited for it any more before it was done.
	left bool
}

// share makes what an op has returned shareable.
func (x *run) share(results []Result) {
	x.outputs = int32(len(results))
	if len(results) > 1 {
		x.needExtra().further = make([]SharedResult, len(results)-1)
	}
	for i, r := range results {
		if !isNil(r) {
			x.place(i).init(r)
		}
	}
}

// place is where an output stands.
func (x *run) place(i int) *SharedResult {
	if i == 0 {
		return &x.output0
	}
	return &x.extra.further[i-1]
}

// at is an output; nil if there is none of the index, or the op returned nothing
// for it.
func (x *run) at(i Index) *SharedResult {
	if int(i) >= int(x.outputs) {
		return nil
	}
	if out := x.place(int(i)); out.main != nil {
		return out
	}
	return nil
}

// all yields the outputs that there are.
func (x *run) all(yield func(*SharedResult) bool) {
	for i := range Index(x.outputs) {
		if out := x.at(i); out != nil && !yield(out) {
			return
		}
	}
}

// runExtra is state that few runs need: those of ops that fail, return several outputs, or
// build something.
type runExtra struct {
	err      error
	further  []SharedResult                 // outputs from 1 on
	savedToo map[Index][]ExportableCacheKey // the keys of further outputs, or that a cache has returned
	// subs are the vertices the op has built: the run counts in the refs of each, until
	// nobody uses it any more. Exports are the keys of what it built.
	subs    []graph.Vertex
	exports []ExportableCacheKey
	reports *reports // what was told while it ran; nil while it runs
}

// noRunExtra is read in place of what is not there. It is never written to.
var noRunExtra runExtra

// readExtra reads the extra part of a run.
func (x *run) readExtra() *runExtra {
	if x.extra == nil {
		return &noRunExtra
	}
	return x.extra
}

// needExtra returns the extra part of a run to be written to.
func (x *run) needExtra() *runExtra {
	if x.extra == nil {
		x.extra = &runExtra{}
	}
	return x.extra
}

// savedUnder are the keys an output was saved under; nil if it was not.
func (x *run) savedUnder(output Index) []ExportableCacheKey {
	if saved := x.readExtra().savedToo[output]; saved != nil || output != Index(x.first) || x.saved.empty() {
		return saved
	}
	return newExportGroup(slices.Collect(x.saved.all))
}

// savedID is the ID of the first key an output was saved under; "" if it was not.
func (x *run) savedID(output Index) string {
	if saved := x.readExtra().savedToo[output]; saved != nil {
		return saved[0].ID
	}
	if output != Index(x.first) || x.saved.empty() {
		return ""
	}
	return x.saved.one.ID
}

func (x *run) setSaved(output Index, keys []ExportableCacheKey) {
	r := x.needExtra()
	if r.savedToo == nil {
		r.savedToo = map[Index][]ExportableCacheKey{}
	}
	r.savedToo[output] = keys
}
