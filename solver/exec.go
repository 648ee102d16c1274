package solver

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/internal/edge"
	"github.com/tenonbuild/tenon/solver/internal/graph"
)

// runCall runs an op and saves the output that was asked for.
type runCall struct {
	task
	x       *run
	inputs  []*SharedResult // there is a hold of each for the call
	waiting graph.List      // the edges that wait for the run; guarded by Solver.mu
	// results are what the op returned, until the run takes them over.
	results []Result
	// keys are those under which the output that was asked for is to be saved.
	keys []*CacheKey
	also *alsoRun // nil if there is nothing of it

	saved bool // under keys, or what also says
}

// alsoRun is what few runs have to do beside running the op and saving.
type alsoRun struct {
	contents []missingContent
	saved    []ExportableCacheKey // if the cache has returned other keys
	cacheErr error                // what went wrong with it
}

// missingContent is a content key that no match depended on. It is computed after
// the op has run, so that the next build can match by it.
type missingContent struct {
	input int
	of    *SharedResult
	by    digester
	call  *digestCall     // was under way when the op was to be run; nil if none was
	ended <-chan struct{} // closed when it is over
	key   *CacheKey
}

// maxRechecks bounds how often an edge asks its caches anew before it runs: what is
// equal may go on ending, and not be saved.
const maxRechecks = 8

// run runs an edge's op, or has it wait for whoever is running an equal one.
func (s *Solver) run(e *edgeState) (edge.Event, bool) {
	for i, in := range s.g.Below(e.v.id) {
		if !s.has(in) {
			return s.askAgain(e, i, true)
		}
	}
	// Since the edge asked, something may have begun, or given it another name.
	if (e.joined != s.begun || s.alternatives(e.v)) && s.join(e) {
		return edge.Event{}, false
	}
	if !e.v.ignore && e.rechecks < maxRechecks && s.equalEnded(e) {
		e.rechecks++
		// It may have been saved, and be found in the caches now.
		s.forgetAnswers(e)
		e.asked = s.released
		e.trace.add(traceEvent{kind: TraceRecheck})
		return edge.Event{Kind: edge.Recheck}, true
	}
	s.start(e)
	return edge.Event{}, false
}

// forgetAnswers has the caches be asked anew.
func (s *Solver) forgetAnswers(e *edgeState) {
	s.g.ForgetProbes(e.id)
	if r := e.extra; r != nil {
		r.found, r.known, r.tried, r.linked, r.candidates = nil, nil, 0, 0, nil
		r.answers = nil
	}
}

// start starts a run of an edge's op.
func (s *Solver) start(e *edgeState) {
	v := e.v
	s.beginAgain(v)
	x := &run{op: v.op, runner: v.id, ignoring: v.fresh, first: int32(e.index)}
	c := runCalls.Get().(*runCall)
	c.x = x
	if n := s.g.Inputs(v.id); n > 0 {
		c.inputs = make([]*SharedResult, n)
		for i, in := range s.g.Below(v.id) {
			shared := s.edge(in).result
			shared.hold()
			c.inputs[i] = shared
		}
		s.forgetContents(v)
		if missing := s.missingContents(v); missing != nil {
			c.also = &alsoRun{contents: missing}
		}
	}
	c.keys = s.keysToSave(e)
	x.call = c
	s.register(x, e)
	s.enqueue(c, v, s.ops, v.weight)
	s.attach(e, x)
}

// lent are the inputs as the op gets them, in a list that it may change.
func (c *runCall) lent() []Result {
	if len(c.inputs) == 0 {
		return nil
	}
	lent := make([]Result, len(c.inputs))
	for i, in := range c.inputs {
		lent[i] = (*borrowed)(in)
	}
	return lent
}

// ownResults has outputs that are inputs be holds of their own. The list may be the op's.
func ownResults(results []Result, inputs []*SharedResult) []Result {
	own, ids := results, inputIDs{of: inputs}
	for i, r := range results {
		if passed := passOn(r, &ids); passed != nil {
			if &own[0] == &results[0] {
				own = slices.Clone(results)
			}
			own[i] = passed
		}
	}
	return own
}

// giveBack ends the holds of the inputs.
func (c *runCall) giveBack() {
	for _, in := range c.inputs {
		c.s.letHold(in)
	}
	c.inputs = nil
}

// letHold ends a hold of a result. If it was the last, the result is released once the
// lock is given up.
func (s *Solver) letHold(r *SharedResult) {
	if r.refs.Add(-1) <= 0 {
		s.throw(r.main)
	}
}

func (c *runCall) vertices(fn func(*vertex)) { c.s.verticesIn(&c.waiting, fn) }

func (s *Solver) missingContents(v *vertex) []missingContent {
	m, contents := &v.op.first, v.readExtra().contents
	var out []missingContent
	for i, d := range m.Deps {
		known := contents != nil && contents[i].key != nil
		if d.ComputeDigestFunc != nil && !known {
			m := missingContent{input: i, of: s.input(v, i).result, by: v.op.digester(i)}
			if contents != nil && contents[i].call != nil && contents[i].call.on == m.of {
				m.call = contents[i].call
				m.ended = m.call.awaited()
			}
			out = append(out, m)
		}
	}
	return out
}

func (c *runCall) do(ctx context.Context) {
	s, op := c.s, c.x.op.op
	if p, ok := op.(Preparer); ok {
		c.err = callPrepare(ctx, p, c.lent())
	}
	s.begin(c.v)
	if c.err == nil {
		c.results, c.err = callExec(ctx, op, c.lent())
	}
	c.results = ownResults(c.results, c.inputs)
	if c.err != nil || ctx.Err() != nil {
		return
	}
	if c.also != nil {
		if c.err = c.computeContents(ctx); c.err != nil {
			return
		}
	}
	if i := int(c.x.first); i < len(c.results) && !isNil(c.results[i]) {
		c.save(s.defaults.list[0], &c.results[i])
	}
}

// save stores the output that was asked for.
func (c *runCall) save(src *source, r *Result) {
	c.saved = true
	keys, err := c.s.save(src, c.keys, r)
	if keys == nil && err == nil {
		return
	}
	if c.also == nil {
		c.also = &alsoRun{}
	}
	c.also.saved, c.also.cacheErr = keys, err
}

// fail implements work. A save that ended the goroutine is a failure of the cache.
func (c *runCall) fail(err error) {
	if !c.saved {
		c.err = err
		return
	}
	if c.also == nil {
		c.also = &alsoRun{}
	}
	c.also.cacheErr = fmt.Errorf("cache %s: save: %w", c.s.defaults.list[0].id, err)
}

// computeContents computes the content keys that nothing depended on so far, so
// that the result is saved under them too.
func (c *runCall) computeContents(ctx context.Context) error {
	k := c.keys[0].with(c.keys[0].ID, slices.Clone(c.keys[0].deps))
	for i := range c.also.contents {
		m := &c.also.contents[i]
		key, err := m.compute(ctx, (*borrowed)(c.inputs[m.input]))
		if err != nil {
			return contentError(m.input, err)
		}
		m.key = key
		k.deps[m.input].content = m.key
	}
	c.keys = []*CacheKey{k}
	return nil
}

// contentError says of which input a content key could not be computed.
func contentError(input int, err error) error {
	if lost := asLostInput(err); lost != nil {
		return &LostInputError{Input: Index(input), Err: lost.Err}
	}
	return fmt.Errorf("content key of input %d: %w", input, err)
}

// compute waits for the call under way, if there is one, so that no content key is
// computed twice.
func (m *missingContent) compute(ctx context.Context, on Result) (*CacheKey, error) {
	if m.call != nil {
		select {
		case <-m.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if m.call.key != nil && m.call.err == nil {
			return m.call.key, nil
		}
	}
	return m.by.key(ctx, on)
}

func callPrepare(ctx context.Context, p Preparer, inputs []Result) (err error) {
	defer recovered("Prepare", &err)
	return p.Prepare(ctx, inputs)
}

func callExec(ctx context.Context, op Op, inputs []Result) (outputs []Result, err error) {
	defer recovered("Exec", &err)
	return op.Exec(ctx, inputs)
}

// done takes the outputs in, or releases them if everybody has left.
func (c *runCall) done() {
	s, x, v := c.s, c.x, c.v
	s.calls[1]++
	lost := c.lostInput()
	c.giveBack()
	if c.dropped || c.err != nil {
		for _, r := range c.results {
			if !isNil(r) {
				s.throw(r)
			}
		}
	}
	if c.dropped {
		return
	}
	if lost.result != nil && s.rewind(c, lost) {
		c.kept = true // the run still has it
		return
	}
	if told := x.told(); told != nil {
		x.needExtra().reports = told
	}
	x.call = nil
	if c.also != nil {
		c.takeAlso()
	}
	switch {
	case c.err != nil:
		x.needExtra().err = c.err
		s.note(v, client.Failed, c.owner(), v.wrap(c.err))
	default:
		x.share(c.results)
		c.takeSaved()
		if s.serves(c) {
			s.note(v, client.Executed, c.owner(), nil)
		}
	}
	for id := s.g.Pop(&c.waiting); id != 0; id = s.g.Pop(&c.waiting) {
		s.collect(s.edge(id))
	}
}

func (c *runCall) takeSaved() {
	if !c.saved {
		return
	}
	for _, k := range c.keys {
		c.x.saved.add(k)
	}
	var saved []ExportableCacheKey
	if c.also != nil && c.also.saved != nil {
		saved = c.also.saved
		c.x.setSaved(Index(c.x.first), saved)
	}
	exportTogether(c.keys, saved)
}

// takeAlso notes the content keys that were computed for saving, and tells what
// went wrong with the cache.
func (c *runCall) takeAlso() {
	v := c.v
	if c.also.cacheErr != nil {
		c.s.report(v, c.also.cacheErr)
	}
	for _, m := range c.also.contents {
		if m.key == nil {
			continue
		}
		if ck := &v.contents()[m.input]; ck.key == nil {
			ck.key, ck.of = m.key, m.of
		}
	}
}

// begin notes that something runs for a vertex.
func (s *Solver) begin(v *vertex) {
	if v.progress.started.CompareAndSwap(0, time.Now().UnixNano()) && v.op.watched.Load() {
		s.lock()
		s.tellWatchers(v)
		s.unlock()
	}
}

// serves reports whether anybody waits for an output that there is. If not, the
// vertex fails.
func (s *Solver) serves(c *runCall) bool {
	for id := range s.g.Each(&c.waiting) {
		if c.x.at(s.edge(id).index) != nil {
			return true
		}
	}
	return false
}

// collect gives an edge its output of a run that is done.
func (s *Solver) collect(e *edgeState) {
	x := e.run
	e.run = nil
	if err := x.readExtra().err; err != nil {
		s.fail(e, e.v.wrap(err))
		return
	}
	if e.index >= Index(x.outputs) {
		s.fail(e, e.v.wrap(fmt.Errorf("the op returned %d outputs, and output %d is wanted", x.outputs, e.index)))
		return
	}
	shared := x.at(e.index)
	if shared == nil {
		s.fail(e, e.v.wrap(fmt.Errorf("the op returned nothing for output %d", e.index)))
		return
	}
	own := x.runner == e.v.id
	if own {
		e.trace.add(traceEvent{kind: TraceExecuted})
	} else {
		e.trace.add(traceEvent{kind: TraceShared})
		e.needExtra().with = x.op.digest
		s.note(e.v, client.Shared, nil, nil)
	}
	if id := x.savedID(e.index); id != "" && (own || e.keys[0].ID == id) {
		s.take(e, x, nil)
		return
	}
	s.saveFor(e, x, shared)
}

// take ends an edge with its output of a run, and the keys that was saved under; nil for
// those of the run.
func (s *Solver) take(e *edgeState, x *run, keys []ExportableCacheKey) {
	if len(x.readExtra().exports) > 0 {
		x.tellBuilt(e, keys)
	}
	s.succeed(e, edge.Ran, x.at(e.index), keys)
}

// tellBuilt has the keys of an edge know the keys of what the op has built.
func (x *run) tellBuilt(e *edgeState, keys []ExportableCacheKey) {
	built := x.extra.exports
	for _, k := range e.keys {
		k.exportWith(built)
	}
	for _, k := range keys {
		if own, ok := k.Exporter.(*keyExporter); ok {
			(*CacheKey)(own).exportWith(built)
		}
	}
	for k := range x.saved.all {
		k.exportWith(built)
	}
}
