package solver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// nodes makes a job's vertices.
func (r *simRun) nodes(j *simJobRun) []*solvertest.Node {
	nodes := make([]*solvertest.Node, len(r.c.vertices))
	for i := range nodes {
		nodes[i] = r.node(j, i, nodes)
	}
	return nodes
}

func (r *simRun) node(j *simJobRun, i int, below []*solvertest.Node) *solvertest.Node {
	v := &r.c.vertices[i]
	n := &solvertest.Node{ID: v.id, Key: r.o.key(i, 0), Outputs: v.outputs, Stats: r.stats}
	if len(v.keys) > 1 {
		for k := range v.keys {
			n.Keys = append(n.Keys, r.o.key(i, k))
		}
	}
	n.Opts.Weight = v.weight
	n.Opts.IgnoreCache = slices.Contains(j.spec.ignore, i)
	for _, s := range j.spec.sources {
		n.Opts.CacheSources = append(n.Opts.CacheSources, r.world.caches[s].manager)
	}
	if v.export > 0 {
		yes := v.export == 1
		n.Opts.ExportCache = &yes
	}
	for _, in := range v.in {
		n.In = append(n.In, solvertest.Input{
			Node: below[in.vertex], Output: in.output, Selector: in.selector, Content: in.content,
			OnDigest: func(context.Context) error {
				time.Sleep(in.digestTime)
				switch {
				case r.world.quiet.Load():
				case in.noContent == execFails:
					return errOp
				case in.noContent == execPanics:
					panic("ComputeDigestFunc")
				}
				return nil
			},
		})
	}
	// The op is resolved anew whenever the vertex becomes active anew.
	var mu sync.Mutex
	var builder solver.Builder
	n.OnResolve = func(b solver.Builder) error {
		mu.Lock()
		builder = b
		mu.Unlock()
		return r.fault(v, resolveFails, resolvePanics)
	}
	n.OnCacheMap = func(ctx context.Context, index int) error {
		r.sleep(ctx, v, v.mapDelay)
		if err := r.fault(v, mapFails, mapPanics); err != nil {
			return err
		}
		if v.subWhen == subsInCacheMap {
			mu.Lock()
			b := builder
			mu.Unlock()
			_, err := r.subs(ctx, b, v, below)
			return err
		}
		return nil
	}
	n.Exec = func(ctx context.Context, b solver.Builder, inputs []solver.Result) ([]solver.Result, error) {
		return r.exec(ctx, b, i, below, inputs)
	}
	return n
}

// fault does what is wrong with a vertex, if it is one of two things.
func (r *simRun) fault(v *simVertex, fails, panics simFault) error {
	switch {
	case r.world.quiet.Load():
	case v.fault == fails:
		return errOp
	case v.fault == panics:
		panic("the op of " + v.id)
	}
	return nil
}

// sleep takes time, unless the op listens to its context and that ends.
func (r *simRun) sleep(ctx context.Context, v *simVertex, d time.Duration) {
	if v.deaf {
		time.Sleep(d)
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// exec is the op of every vertex.
func (r *simRun) exec(ctx context.Context, b solver.Builder, i int, below []*solvertest.Node, inputs []solver.Result) ([]solver.Result, error) {
	v := &r.c.vertices[i]
	for k, in := range v.in {
		if got, want := solvertest.Value(inputs[k]), r.o.value(in.simEdge); got != want {
			r.failf("%s was run with %s in place of %s as input %d", v.id, got, want, k)
		}
	}
	x, ok := r.begin(ctx, i), false
	defer func() { r.end(x, v, ok) }()
	if v.reports {
		solver.ProgressFrom(ctx).Log(1, []byte(v.id))
	}
	err := r.readAll(inputs)
	r.sleep(ctx, v, v.delay)
	if err == nil {
		err = r.execFault(i)
	}
	if err == nil && i%2 == 0 {
		err = r.readAll(inputs) // once more: it takes its time to read
	}
	if err == nil && !v.deaf {
		err = ctx.Err()
	}
	var built solver.Result
	if err == nil && v.subWhen != subsInCacheMap && len(v.subs) > 0 {
		r.occupy(ctx, v, -1)
		if built, err = r.subs(ctx, b, v, below); v.subWhen == subsBehind {
			x.slotless = true // what it left behind has given its slot away
		} else {
			r.occupy(ctx, v, 1)
		}
	}
	var out []solver.Result
	if err == nil {
		out = r.outputs(i, inputs, built)
	}
	ok = err == nil && len(out) == v.outputs && !slices.Contains(out, nil)
	return out, err
}

func (r *simRun) execFault(i int) error {
	v := &r.c.vertices[i]
	if v.fault == execFailsOnce && !r.world.quiet.Load() {
		r.mu.Lock()
		tried := r.tried[i]
		r.tried[i] = true
		r.mu.Unlock()
		if !tried {
			return errOp
		}
	}
	return r.fault(v, execFails, execPanics)
}

// outputs makes the results, as well as the vertex can.
func (r *simRun) outputs(i int, inputs []solver.Result, built solver.Result) []solver.Result {
	v := &r.c.vertices[i]
	broken := !r.world.quiet.Load()
	var out []solver.Result
	for n := range v.outputs {
		if n == v.outputs-1 && broken && v.fault == tooFew {
			break
		}
		if n == v.outputs-1 && broken && v.fault == nilOutput {
			out = append(out, nil)
			break
		}
		var one solver.Result
		switch _, input, ok := v.same(); {
		case n > 0 || !ok || v.passes == passesValue || !input && built == nil:
			one = solvertest.NewResult(r.o.value(simEdge{i, n}), r.stats)
		case input:
			one = r.passOn(v, inputs[0])
		default:
			one, built = built, nil
		}
		out = append(out, one)
	}
	if built != nil {
		if err := built.Release(context.Background()); err != nil {
			r.failf("%s: Release: %v", v.id, err)
		}
	}
	return out
}

// subs builds what the op of a vertex builds. It returns what it is to pass on.
func (r *simRun) subs(ctx context.Context, b solver.Builder, v *simVertex, below []*solvertest.Node) (first solver.Result, err error) {
	keep := v.subWhen == subsInTurn || v.subWhen == subsAtOnce
	errs := make([]error, len(v.subs))
	var wg sync.WaitGroup
	for i, s := range v.subs {
		one := func() {
			res, err := b.Build(ctx, below[s.vertex].Edge(s.output))
			if err != nil {
				errs[i] = err
				return
			}
			if got, want := solvertest.Value(res), r.o.value(s); got != want {
				r.failf("%s built %s: %s in place of %s", v.id, r.c.edge(s), got, want)
			}
			if keep && i == 0 {
				first = res
			} else if err := res.Release(ctx); err != nil {
				r.failf("%s: Release: %v", v.id, err)
			}
		}
		switch v.subWhen {
		case subsAtOnce:
			wg.Go(one)
		case subsBehind:
			go one()
		default:
			one()
		}
	}
	if v.subWhen == subsBehind {
		return nil, nil
	}
	wg.Wait()
	for _, err := range errs {
		if err == nil {
			continue
		}
		if first != nil {
			err = errors.Join(err, first.Release(ctx))
		}
		return nil, fmt.Errorf("%s builds: %w", v.id, err)
	}
	return first, nil
}

// weight is how many slots a vertex takes.
func (r *simRun) weight(v *simVertex) int { return min(max(1, v.weight), r.c.parallel) }

// occupy counts the slots that running ops take. One that was cancelled while it
// waited for its slot goes on without.
func (r *simRun) occupy(ctx context.Context, v *simVertex, n int) {
	r.mu.Lock()
	r.running += n * r.weight(v)
	over := r.running > r.c.parallel
	for _, x := range r.execs {
		over = over && (!x.end.IsZero() || x.ctx.Err() == nil)
	}
	r.mu.Unlock()
	if over && ctx.Err() == nil {
		r.failf("more than %d slots are taken when %s runs", r.c.parallel, v.id)
	}
}

// begin notes that an op is run, and checks that somebody wants it.
func (r *simRun) begin(ctx context.Context, i int) *simExec {
	v := &r.c.vertices[i]
	r.occupy(ctx, v, 1)
	r.checkSession(ctx, v)
	x := &simExec{vertex: i, s: r.s, ctx: ctx, start: time.Now()}
	r.mu.Lock()
	r.execs = append(r.execs, x)
	wanted := false
	for _, b := range r.builds {
		if !b.ended.IsZero() && b.ended.Before(x.start) {
			continue
		}
		wanted = wanted || b.runs[i]
	}
	for k := range r.c.vertices {
		wanted = wanted || r.c.vertices[k].subWhen == subsBehind
	}
	r.mu.Unlock()
	if !wanted {
		r.failf("%s is run, and nobody wants it", v.id)
	}
	return x
}

// checkSession checks that an op finds the session of a job that is alive.
func (r *simRun) checkSession(ctx context.Context, v *simVertex) {
	gone := map[string]bool{}
	r.mu.Lock()
	for id, j := range r.jobs {
		gone[id] = j.discarded
	}
	closing := r.closing
	r.mu.Unlock()
	id := solver.SessionID(ctx)
	switch {
	case gone[id]:
		r.failf("%s is run for %s, which is discarded", v.id, id)
	case id == "" && ctx.Err() == nil && !closing:
		r.failf("%s is run without a session", v.id)
	}
}

func (r *simRun) end(x *simExec, v *simVertex, ok bool) {
	r.mu.Lock()
	x.end, x.ok = time.Now(), ok
	if !x.slotless {
		r.running -= r.weight(v)
	}
	r.mu.Unlock()
}

// simTarget is what exports of a simulation go to.
type simTarget struct {
	visited map[any]bool
	records []*simRecord
}

type simRecord struct {
	results, links int
}

func (t *simTarget) Add(digest.Digest) solver.CacheExporterRecord {
	rec := &simRecord{}
	t.records = append(t.records, rec)
	return rec
}

func (t *simTarget) Visit(x any)        { t.visited[x] = true }
func (t *simTarget) Visited(x any) bool { return t.visited[x] }

func (rec *simRecord) AddResult(time.Time, *solver.Remote)              { rec.results++ }
func (rec *simRecord) LinkFrom(solver.CacheExporterRecord, int, string) { rec.links++ }

// export exports a result's cache. Where caches fail, it may fail too.
func (r *simRun) export(what string, res solver.CachedResult) {
	t := &simTarget{visited: map[any]bool{}}
	mode := solver.CacheExportMode(len(what) % 3)
	convert := func(_ context.Context, res solver.Result) (*solver.Remote, error) {
		if strings.Contains(solvertest.Value(res), "#") {
			return nil, nil
		}
		return &solver.Remote{}, nil
	}
	for _, k := range res.CacheKeys() {
		_, err := k.Exporter.ExportTo(context.Background(), t, solver.CacheExportOpt{Convert: convert, Mode: mode})
		if err != nil && r.c.faults == 0 {
			r.failf("%s: export: %v", what, err)
		}
	}
}
