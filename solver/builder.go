package solver

import (
	"context"
	"fmt"

	"github.com/tenonbuild/tenon/solver/internal/graph"
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
	s  *Solver
	op *opState
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
		return nil, b.wrap(err)
	}
	s := b.s
	call, waits := b.call(ctx)
	r, err := b.request(p, call, e.Index)
	if err != nil {
		return nil, err
	}
	if len(waits) == 0 {
		return s.await(ctx, r, nil)
	}
	for _, t := range waits {
		s.queue.Yield(&t.Ticket)
	}
	res, err := s.await(ctx, r, waits[0].context().Done())
	for _, t := range waits {
		s.queue.Reclaim(&t.Ticket, waits[0].context().Done())
	}
	if x := runOf(call); x != nil && err == nil {
		s.lock()
		x.needExtra().exports = append(x.readExtra().exports, res.CacheKeys()...)
		s.unlock()
	}
	return res, err
}

// call finds the call of the op that builds something, and the calls that give their slots
// back while it waits. Where ctx is of no call, all calls of the op that are under way give
// theirs: any of them may be the one that builds.
func (b *builder) call(ctx context.Context) (call *task, waits []*task) {
	own := taskOf(ctx)
	b.s.lock()
	defer b.s.unlock()
	if own != nil && !own.taken && b.made(own) {
		own.kept = true
		return own, []*task{own}
	}
	for v := range b.op.vertices.all {
		if x := v.run; x != nil && x.call != nil && x.op == b.op && !x.left {
			waits = append(waits, &x.call.task)
		}
		for _, content := range v.readExtra().contents {
			if content.call != nil {
				waits = append(waits, &content.call.task)
			}
		}
	}
	if c := b.op.call; c != nil {
		waits = append(waits, &c.task)
	}
	if len(waits) > 0 {
		call = waits[0]
		call.kept = true
	}
	if own != nil {
		waits = []*task{own}
	}
	for _, t := range waits {
		t.kept = true
	}
	return call, waits
}

// made reports whether a call is one of the op.
func (b *builder) made(t *task) bool {
	switch c := t.Work.(type) {
	case *runCall:
		return c.x.op == b.op
	case *mapCall:
		return c.st == b.op
	}
	return t.v.op == b.op
}

func (b *builder) wrap(err error) error {
	return &VertexError{Digest: b.op.digest, Name: b.op.name, Err: err}
}

// request loads a plan as something the op builds, and demands its result.
func (b *builder) request(p *plan, t *task, index Index) (*request, error) {
	s := b.s
	var sources *cacheSet
	s.lock()
	if v := b.op.vertices.one; v != nil {
		sources = v.caches
	}
	s.unlock()
	root, err := s.load(p, func() []*Job { return b.jobs(t) }, sources)
	if err != nil {
		return nil, b.wrap(err)
	}
	defer s.unlock()
	defer s.g.Unref(root.id)
	if b.waited(root, t) {
		// Perhaps only because something shares a run, which it need not.
		s.unshare(root, func(v *vertex) bool { return b.waits(v, t) })
		if b.waited(root, t) {
			return nil, b.wrap(fmt.Errorf("the graph contains itself: the op builds %s, which needs the result of the op", p.top().label()))
		}
	}
	x, owned := runOf(t), false
	b.owners(t)(func(v *vertex) {
		owned = true
		if x == nil {
			s.addSub(v, root.id)
		}
		s.holdSub(v, root.id)
	})
	if !owned {
		return nil, b.wrap(errDiscarded)
	}
	if x != nil {
		x.needExtra().subs = append(x.readExtra().subs, root.id)
		s.g.Ref(root.id)
		if x.runner != 0 { // it may not wait any more, and uses the run all the same
			s.holdSub(s.vertex(x.runner), root.id)
		}
	}
	return s.request(root, index), nil
}

// waited reports whether a vertex, or what it stands on, waits for the op that
// is building.
func (b *builder) waited(root *vertex, t *task) bool {
	return b.s.reaches([]graph.Vertex{root.id}, func(v *vertex) bool { return b.waits(v, t) })
}

// waits reports whether a vertex waits for the op that is building.
func (b *builder) waits(v *vertex, t *task) bool {
	if x := runOf(t); x != nil {
		return v.run == x
	}
	return t != nil && v.op == b.op
}

// owners are the vertices for which the op is called: those that wait for the call, or
// without one, those of the op.
func (b *builder) owners(t *task) func(func(*vertex)) {
	return func(yield func(*vertex)) {
		if t != nil && t.taken {
			return
		}
		if x := runOf(t); x != nil {
			t.work().vertices(yield)
			return
		}
		for v := range b.op.vertices.all {
			yield(v)
		}
	}
}

// runOf is the run whose call a task is; nil if it is none.
func runOf(t *task) *run {
	if t == nil {
		return nil
	}
	if c, ok := t.Work.(*runCall); ok {
		return c.x
	}
	return nil
}

// jobs are those that the op works for.
func (b *builder) jobs(t *task) []*Job {
	return b.s.jobsHolding(func(yield func(*vertex)) {
		b.owners(t)(yield)
		for v := range b.op.vertices.all {
			if v.run != nil && v.run.call != nil {
				v.run.call.vertices(yield)
			}
		}
	})
}

func (b *builder) EachValue(ctx context.Context, key string, fn func(interface{}) error) error {
	s := b.s
	s.lock()
	jobs := b.jobs(taskOf(ctx))
	s.unlock()
	for _, j := range jobs {
		if err := j.EachValue(ctx, key, fn); err != nil {
			return err
		}
	}
	return nil
}
