package solver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/internal/edge"
)

// execCall runs an op and saves the output that was asked for.
type execCall struct {
	task
	x      *execution
	inputs []Result // holds for the call
	// waiting are the edges that wait for the execution. Guarded by Solver.mu.
	waiting few[*edgeState]
	// keys are those under which the output that was asked for is to be saved.
	keys []*CacheKey
	also *alsoExec // nil if there is nothing of it

	outputs outputs
	err     error
	saved   bool // under keys, or what also says
}

// alsoExec is what few executions have to do beside running the op and saving.
type alsoExec struct {
	contents []missingContent
	saved    []ExportableCacheKey // if the cache has returned other keys
	cacheErr error                // what went wrong with it
}

// missingContent is a content key that no match depended on. It is computed after
// the op has run, so that the next build can match by it.
type missingContent struct {
	input int
	fn    ResultBasedCacheFunc
	call  *digestCall     // was under way when the op was to be run; nil if none was
	ended <-chan struct{} // closed when it is over
	key   *CacheKey
	err   error
}

// maxRechecks bounds how often an edge asks its caches anew before it runs: what is
// equal may go on ending, and not be saved.
const maxRechecks = 8

// run executes an edge's op, or waits for whoever is executing an equal one.
func (s *Solver) run(e *edgeState) {
	// Since the edge asked, something may have begun, or given it another name.
	if (e.joined != s.begun || e.alternatives()) && s.join(e) {
		return
	}
	if !e.v.ignore && e.rechecks < maxRechecks && s.equalEnded(e) {
		e.rechecks++
		// It may have been saved, and be found in the caches now.
		e.forgetAnswers()
		e.asked = s.released
		e.trace.add(traceEvent{kind: TraceRecheck})
		s.tell(step{e: e, kind: edge.Recheck})
		return
	}
	s.execute(e)
}

// forgetAnswers has the caches be asked anew.
func (e *edgeState) forgetAnswers() {
	for i := range e.ins {
		in := &e.ins[i]
		in.probed, in.matched, in.content = 0, 0, false
	}
	if r := e.rare; r != nil {
		r.found, r.tried, r.candidates = nil, 0, nil
		r.answers, r.tooMany = nil, 0
	}
}

// execute starts an execution.
func (s *Solver) execute(e *edgeState) {
	v := e.v
	x := &execution{runner: v, first: e.index}
	c := &execCall{x: x}
	if len(v.inputs) > 0 {
		c.inputs = borrow(v.inputs)
		if missing := v.missingContents(); missing != nil {
			c.also = &alsoExec{contents: missing}
		}
	}
	c.keys = e.keysToSave()
	x.call = c
	s.register(x, e)
	s.enqueue(&c.task, c, v, opLane, v.weight)
	s.attach(e, x)
}

// borrow makes a hold of each input's result, for a call.
func borrow(inputs []*edgeState) []Result {
	if len(inputs) == 1 {
		one := &struct {
			handle sharedHandle
			room   [1]Result
		}{}
		one.room[0] = inputs[0].result.cloneInto(&one.handle)
		return one.room[:]
	}
	holds := make([]Result, len(inputs))
	handles := make([]sharedHandle, len(inputs))
	for i, in := range inputs {
		holds[i] = in.result.cloneInto(&handles[i])
	}
	return holds
}

// keysToSave are the edge's definition keys with all that is known of its inputs.
func (e *edgeState) keysToSave() []*CacheKey {
	if len(e.v.inputs) == 0 {
		return e.keys[:len(e.keys):len(e.keys)]
	}
	if !e.alternatives() {
		return e.keys[:1:1]
	}
	k := *e.keys[0]
	k.deps = e.v.keyDeps()
	return []*CacheKey{&k}
}

func (v *vertex) missingContents() []missingContent {
	m, contents := &v.op.first, v.has().contents
	var out []missingContent
	for i, d := range m.Deps {
		known := contents != nil && (contents[i].key != nil || contents[i].failed)
		if d.ComputeDigestFunc != nil && !known {
			m := missingContent{input: i, fn: d.ComputeDigestFunc}
			if contents != nil && contents[i].call != nil {
				m.call = contents[i].call
				m.ended = m.call.awaited()
			}
			out = append(out, m)
		}
	}
	return out
}

func (c *execCall) do(ctx context.Context) {
	s := c.solver()
	if p, ok := c.v.op.op.(Preparer); ok {
		c.err = callPrepare(ctx, p, c.inputs)
	}
	s.begin(c.v)
	var results []Result
	if c.err == nil {
		results, c.err = callExec(ctx, c.v.op.op, c.inputs)
	}
	c.outputs = share(results)
	if c.err == nil && ctx.Err() == nil {
		if c.also != nil {
			c.computeContents(ctx)
		}
		if out := c.outputs.at(c.x.first); out != nil {
			c.save(s.defaults.list[0], out.main)
		}
	}
	for _, in := range c.inputs {
		release(in) //nolint:errcheck // it is reported to whoever holds the result itself
	}
}

// save stores the output that was asked for.
func (c *execCall) save(m CacheManager, r Result) {
	c.saved = true
	keys, err := save(m, c.keys, r)
	if keys == nil && err == nil {
		return
	}
	if c.also == nil {
		c.also = &alsoExec{}
	}
	c.also.saved, c.also.cacheErr = keys, err
}

// computeContents computes the content keys that nothing depended on so far, so
// that the result is saved under them too.
func (c *execCall) computeContents(ctx context.Context) {
	k := *c.keys[0]
	k.deps = append([]keyDep(nil), k.deps...)
	for i := range c.also.contents {
		m := &c.also.contents[i]
		dgst, err := m.compute(ctx, c.inputs[m.input])
		if err != nil {
			m.err = err
			continue
		}
		m.key = NewCacheKey(dgst, contentOutput)
		k.deps[m.input].content = m.key
	}
	c.keys = []*CacheKey{&k}
}

// compute waits for the call under way, if there is one, so that no content key is
// computed twice.
func (m *missingContent) compute(ctx context.Context, on Result) (digest.Digest, error) {
	if m.call != nil {
		select {
		case <-m.ended:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		if m.call.dgst != "" && m.call.err == nil {
			return m.call.dgst, nil
		}
	}
	return contentDigest(ctx, m.fn, on)
}

func callPrepare(ctx context.Context, p Preparer, inputs []Result) (err error) {
	defer recovered("Prepare", &err)
	return p.Prepare(ctx, inputs)
}

func callExec(ctx context.Context, op Op, inputs []Result) (outputs []Result, err error) {
	defer recovered("Exec", &err)
	return op.Exec(ctx, inputs)
}

// save stores a result under each of its keys. It returns what the cache has for
// them: nil if that is the keys themselves. So does a key for itself where saving
// fails.
func save(m CacheManager, keys []*CacheKey, r Result) (out []ExportableCacheKey, err error) {
	var errs []error
	for i, k := range keys {
		ek, err := saveOne(m, k, r)
		if err != nil {
			errs = append(errs, fmt.Errorf("cache %s: save: %w", managerID(m), err))
		}
		if err != nil || ek.CacheKey == nil {
			ek = newExportableKey(k)
		}
		if own, ok := ek.Exporter.(*keyExporter); out == nil && ok && (*CacheKey)(own) == k && ek.CacheKey == k {
			continue
		}
		if out == nil {
			out = newExportGroup(keys[:i])
		}
		out = append(out, ek)
	}
	return out, errors.Join(errs...)
}

func saveOne(m CacheManager, k *CacheKey, r Result) (ek ExportableCacheKey, err error) {
	defer recovered("Save", &err)
	if own, ok := m.(*cacheManager); ok {
		return own.save(k, r)
	}
	saved, err := m.Save(k, r)
	if saved != nil {
		ek = *saved
	}
	return ek, err
}

// done takes the outputs in, or releases them if everybody has left.
func (c *execCall) done() {
	s, x, v := c.solver(), c.x, c.v
	s.calls[1]++
	if c.dropped {
		for out := range c.outputs.all {
			s.trash = append(s.trash, out)
		}
		return
	}
	waiting := c.waiting.take()
	x.call = nil
	if c.also != nil {
		c.takeAlso()
	}
	x.outputs = c.outputs
	if c.err == nil && c.saved {
		for _, k := range c.keys {
			x.saved.add(k)
		}
		if c.also != nil && c.also.saved != nil {
			x.setSaved(x.first, c.also.saved)
		}
	}
	switch {
	case c.err != nil:
		x.more().err = c.err
		s.note(v, client.Failed, c.owner, v.wrap(c.err))
	case x.serves(&waiting):
		s.note(v, client.Executed, c.owner, nil)
	}
	for e := range waiting.all {
		s.collect(e)
	}
}

// takeAlso notes the content keys that were computed for saving, and tells what
// went wrong with the cache.
func (c *execCall) takeAlso() {
	v := c.v
	if c.also.cacheErr != nil {
		c.solver().report(v, c.also.cacheErr)
	}
	for _, m := range c.also.contents {
		if ck := &v.contents()[m.input]; ck.key == nil && m.key != nil {
			ck.key = m.key
		}
		if m.err != nil {
			c.solver().report(v, fmt.Errorf("content key of input %d: %w", m.input, m.err))
		}
	}
}

// begin notes that something runs for a vertex.
func (s *Solver) begin(v *vertex) {
	if v.progress.started.CompareAndSwap(0, time.Now().UnixNano()) && v.progress.watched.Load() {
		s.tellStarted(v)
	}
}

// serves reports whether anybody waits for an output that there is. If not, the
// vertex fails.
func (x *execution) serves(waiting *few[*edgeState]) bool {
	for e := range waiting.all {
		if x.outputs.at(e.index) != nil {
			return true
		}
	}
	return false
}

// collect gives an edge its output of an execution that is done.
func (s *Solver) collect(e *edgeState) {
	x := e.exec
	e.exec = nil
	if err := x.has().err; err != nil {
		s.fail(e, e.v.wrap(err))
		return
	}
	if int(e.index) >= x.outputs.n {
		s.fail(e, e.v.wrap(fmt.Errorf("the op returned %d outputs, and output %d is wanted", x.outputs.n, e.index)))
		return
	}
	shared := x.outputs.at(e.index)
	if shared == nil {
		s.fail(e, e.v.wrap(fmt.Errorf("the op returned nothing for output %d", e.index)))
		return
	}
	if x.runner == e.v {
		e.trace.add(traceEvent{kind: TraceExecuted})
	} else {
		e.trace.add(traceEvent{kind: TraceShared})
		e.more().with = x.runner
		s.note(e.v, client.Shared, nil, nil)
	}
	if id := x.savedID(e.index); id != "" && (e.v == x.runner || e.keys[0].ID == id) {
		s.take(e, x, nil)
		return
	}
	s.saveFor(e, x, shared)
}

// take ends an edge with its output of an execution, and the keys that was saved
// under; nil for those of the execution.
func (s *Solver) take(e *edgeState, x *execution, keys []ExportableCacheKey) {
	if len(x.has().exporters) > 0 {
		if keys == nil {
			keys = x.savedUnder(e.index)
		}
		keys = append([]ExportableCacheKey(nil), keys...)
		for i := range keys {
			keys[i] = withSubExporters(keys[i], x.rare.exporters)
		}
	}
	s.succeed(e, edge.Ran, x.outputs.at(e.index), keys)
}

// saveCall saves an output for an edge that did not start its execution.
type saveCall struct {
	task
	e     *edgeState
	x     *execution
	keys  []*CacheKey
	cache CacheManager
	on    Result // a hold for the call

	saved []ExportableCacheKey
	err   error
}

// saveFor saves an output under the keys of an edge that waited for it.
func (s *Solver) saveFor(e *edgeState, x *execution, shared *SharedResult) {
	c := &saveCall{e: e, x: x, keys: e.keysToSave(), cache: e.v.caches.list[0], on: shared.Clone()}
	if id := x.savedID(e.index); id != "" && len(e.v.inputs) > 0 {
		// What was saved stays one record: the keys of this edge's inputs lead to it.
		k := *c.keys[0]
		k.ID = id
		c.keys = []*CacheKey{&k}
		e.learn(&k)
	}
	e.more().save = c
	s.enqueue(&c.task, c, e.v, lightLane, 1)
}

func (c *saveCall) do(context.Context) {
	if c.saved, c.err = save(c.cache, c.keys, c.on); c.saved == nil {
		c.saved = newExportGroup(c.keys)
	}
}

func (c *saveCall) done() {
	s, e := c.solver(), c.e
	s.trash = append(s.trash, c.on)
	if c.dropped {
		return
	}
	e.rare.save = nil
	if c.err != nil {
		s.report(e.v, c.err)
	}
	if c.x.savedID(e.index) == "" {
		c.x.setSaved(e.index, c.saved)
	}
	s.take(e, c.x, c.saved)
}
