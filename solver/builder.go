package solver

import (
	"context"
	"fmt"
	"slices"
)

// Builder lets an op solve further edges while it runs. What it builds belongs to
// the op's vertex: it is held by whoever holds that, shows in the same jobs'
// progress, and its cache is exported with the vertex's result.
type Builder interface {
	// Build solves an edge. Ctx should be that of the call of the op, or derived
	// from it: the op's slot is then free for others while it waits. The result
	// becomes the caller's.
	Build(ctx context.Context, e Edge) (CachedResult, error)
	// Context returns a context by which progress is reported to the op's vertex,
	// for work that does not have the context of one of the op's calls.
	Context(ctx context.Context) context.Context
	// EachValue visits the values of a key of every job that holds the vertex. An
	// error of fn, or the end of ctx, ends the walk and is returned.
	EachValue(ctx context.Context, key string, fn func(interface{}) error) error
}

// builder is the Builder of one op.
type builder struct {
	s *Solver
	v *vertex // the first vertex that needed the op
}

type builderKey struct{}

func (b *builder) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, builderKey{}, b)
}

func (b *builder) Build(ctx context.Context, e Edge) (CachedResult, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	p, err := newPlan(e)
	if err != nil {
		return nil, b.v.wrap(err)
	}
	t := taskOf(ctx)
	s := b.s
	s.mu.Lock()
	r, err := b.request(p, t, e.Index)
	s.unlock(true)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return s.await(ctx, r)
	}
	s.queue.yield(t)
	res, err := s.await(ctx, r)
	s.queue.reclaim(t, ctx.Done())
	if err == nil {
		s.mu.Lock()
		b.export(t, res)
		s.unlock(true)
	}
	return res, err
}

// request loads a plan as something the op builds, and demands its result.
func (b *builder) request(p *plan, t *task, index Index) (*request, error) {
	s := b.s
	root, err := s.load(p, s.jobsHolding(b.owners(t)), b.v.caches)
	if err != nil {
		return nil, b.v.wrap(err)
	}
	if b.waited(root, t) {
		// Perhaps only because something shares an execution, which it need not.
		s.unshare(root, func(v *vertex) bool { return b.waits(v, t) })
		if b.waited(root, t) {
			return nil, b.v.wrap(fmt.Errorf("the graph contains itself: the op builds %s, which needs the result of the op", p.top().label()))
		}
	}
	for _, v := range b.owners(t) {
		s.adopt(v, root)
	}
	if x := executionOf(t); x != nil {
		x.more().subs = append(x.has().subs, root)
	}
	return s.request(root, index), nil
}

// waited reports whether a vertex, or what it stands on, waits for the op that
// is building.
func (b *builder) waited(root *vertex, t *task) bool {
	return b.s.reaches([]*vertex{root}, func(v *vertex) bool { return b.waits(v, t) })
}

// waits reports whether a vertex waits for the op that is building.
func (b *builder) waits(v *vertex, t *task) bool {
	if x := executionOf(t); x != nil {
		return v.exec == x
	}
	return v.op == b.v.op
}

// owners are the vertices for which the op is called.
func (b *builder) owners(t *task) []*vertex {
	if x := executionOf(t); x != nil {
		return slices.Collect(x.holders.all)
	}
	return slices.Collect(b.v.op.vertices.all)
}

// executionOf is the execution whose call a task is; nil if it is none.
func executionOf(t *task) *execution {
	if t == nil {
		return nil
	}
	if c, ok := t.work.(*execCall); ok {
		return c.x
	}
	return nil
}

// export has what was built be exported with the vertex's result.
func (b *builder) export(t *task, res CachedResult) {
	for _, k := range res.CacheKeys() {
		if k.Exporter == nil {
			continue
		}
		if x := executionOf(t); x != nil {
			x.more().exporters = append(x.has().exporters, k.Exporter)
		}
	}
}

// jobs are those that the op works for.
func (b *builder) jobs(t *task) []*Job {
	owners := b.owners(t)
	if x := b.v.exec; x != nil {
		owners = slices.AppendSeq(owners, x.holders.all)
	}
	return b.s.jobsHolding(owners)
}

func (b *builder) EachValue(ctx context.Context, key string, fn func(interface{}) error) error {
	s := b.s
	s.mu.Lock()
	jobs := b.jobs(taskOf(ctx))
	s.unlock(true)
	for _, j := range jobs {
		if err := j.EachValue(ctx, key, fn); err != nil {
			return err
		}
	}
	return nil
}
