package engine

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/engine/ops"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// ahead has the layers of steps brought to where caches are written as soon as the steps have
// run. It decides which; remotecache.Ahead does it.
//
// What is brought must be what the cache has in the end. So only that is brought which is sure to
// be in it: results of what the frontend has returned, or has had evaluated. And only in the
// form that layers get in the end: the first that makes a layer decides that, and outputs come
// before caches. So nothing is brought for a cache whose form is another one.
type ahead struct {
	stop context.CancelFunc
	all  bool // every step is exported, not only what the results are made upon
	to   []*remotecache.Ahead

	mu     sync.Mutex // guards what follows
	ended  bool
	wanted map[edgeID]bool
	ran    map[edgeID]*store.Ref
}

// packShare is of how many processors one makes layers ahead, beside the steps.
const packShare = 4

func packSlots() chan struct{} { return make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/packShare)) }

// edgeID names an output of a vertex.
type edgeID struct {
	vertex digest.Digest
	output solver.Index
}

var _ ops.Observer = (*ahead)(nil)

// openAhead begins, if there is something to be brought by the build.
func (b *build) openAhead(ctx context.Context) {
	form, ok := b.layerForm()
	if !ok {
		return
	}
	ctx, stop := context.WithCancel(ctx)
	a := &ahead{stop: stop, all: true, wanted: map[edgeID]bool{}, ran: map[edgeID]*store.Ref{}}
	b.ahead = a
	for i := range b.cacheExports {
		x := &b.cacheExports[i]
		if x.to == nil {
			continue
		}
		// A result that has layers is in a cache of mode=min, too.
		a.all = a.all && x.Mode == solver.CacheExportModeMax
		if !x.Layers.SameForm(form) {
			continue
		}
		x.ahead = remotecache.NewAhead(x.to, b.engine.store.LayersOnce(x.Layers), b.engine.packing, func() (context.Context, func(error)) {
			return b.job.Begin(ctx, "exporting cache layers to "+x.Name())
		})
		a.to = append(a.to, x.ahead)
	}
	if len(a.to) > 0 {
		b.job.SetValue(ops.ObserverKey, a)
	}
}

// layerForm is the form of the layers that the build makes, as far as it is known by now.
func (b *build) layerForm() (form store.LayerOptions, ok bool) {
	if len(b.cacheExports) == 0 || b.req.More != nil {
		return form, false
	}
	for _, x := range b.exporters {
		made, known := export.LayerForm(x)
		if !known {
			return form, false
		}
		if made != nil {
			return *made, true
		}
	}
	return b.cacheExports[0].Layers, true
}

// Ran implements ops.Observer.
func (a *ahead) Ran(v solver.Vertex, results []solver.Result) {
	if op, ok := v.Sys().(*pb.Op); !ok || op.GetSource() != nil {
		return // it is there before
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, r := range results {
		id := edgeID{v.Digest(), solver.Index(i)}
		if r == nil || a.ended || a.ran[id] != nil {
			continue
		}
		ref, err := store.RefOf(r)
		if err != nil || ref == nil {
			continue
		}
		a.ran[id] = ref.Clone()
		a.bring(id)
	}
}

// bring brings what has run and is wanted. The caller has mu.
func (a *ahead) bring(id edgeID) {
	ref := a.ran[id]
	if ref == nil || !a.wanted[id] {
		return
	}
	for _, to := range a.to {
		to.Add(ref)
	}
}

// want says that the result of an edge will be in the caches.
func (a *ahead) want(top solver.Edge) {
	if a == nil || top.Vertex == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := map[edgeID]bool{}
	todo := []solver.Edge{top}
	for len(todo) > 0 {
		e := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		id := edgeID{e.Vertex.Digest(), e.Index}
		if seen[id] {
			continue
		}
		seen[id] = true
		upon := llb.Upon(e)
		if exported(e.Vertex) || a.wanted[id] {
			for _, in := range append(slices.Clip(upon), e) {
				id := edgeID{in.Vertex.Digest(), in.Index}
				if !a.wanted[id] {
					a.wanted[id] = true
					a.bring(id)
				}
			}
		}
		if a.all {
			upon = e.Vertex.Inputs()
		}
		todo = append(todo, upon...)
	}
}

// exported says whether results of a vertex are exported: those of vertices without inputs
// are not.
func exported(v solver.Vertex) bool {
	own := v.Options().ExportCache
	return len(v.Inputs()) > 0 && (own == nil || *own)
}

// wantAll does it for what a frontend has returned.
func (a *ahead) wantAll(res *gwclient.Result) {
	_ = res.EachRef(func(ref gwclient.Reference) error { // whose function returns none
		if r, ok := ref.(*frontend.Reference); ok && r != nil {
			a.want(r.Graph().Edge)
		}
		return nil
	})
}

// close ends what is under way.
func (a *ahead) close(ctx context.Context) error {
	if a == nil {
		return nil
	}
	a.stop()
	ctx = context.WithoutCancel(ctx)
	var errs error
	for _, to := range a.to {
		_ = to.End(ctx) // nobody needs it any more
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	for _, ref := range a.ran {
		errs = errors.Join(errs, ref.Release(ctx))
	}
	a.ran = nil
	return errs
}
