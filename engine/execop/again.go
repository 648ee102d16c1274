package execop

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/engine/verify"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// clockStep is how much later than the first the second run begins at least: as long as it
// takes for a time to be another one wherever it is written. Zip archives have every other
// second.
const clockStep = 2 * time.Second

// verify runs the process a second time, if a build asks for that, and tells these builds
// what came out differently. The second run has trees of its own on the same inputs, and
// the cache mounts as the first has left them: those that are not shared nobody else has
// had in between. What it writes elsewhere is thrown away. It fails only when ctx ends.
func (o *op) verify(ctx context.Context, refs []*store.Ref, first *mounts, results []solver.Result, begun time.Time) error {
	if o.Verify == nil {
		return nil
	}
	builds := o.Verify(ctx)
	if len(builds) == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(clockStep - time.Since(begun)):
	}
	step, err := o.again(ctx, refs, first, results)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		step.Failed = err.Error()
	}
	for _, b := range builds {
		b.Add(step)
	}
	logVerified(solver.ProgressFrom(ctx), step)
	return nil
}

// again is the second run.
func (o *op) again(ctx context.Context, refs []*store.Ref, first *mounts, results []solver.Result) (_ verify.Step, err error) {
	step := verify.Step{Digest: o.digest, Name: o.name}
	shown := o.showAgain(ctx)
	defer func() { shown(time.Now()) }()
	m, err := o.mount(ctx, refs, first.caches)
	defer func() { err = errors.Join(err, m.release(ctx)) }()
	if err != nil {
		return step, err
	}
	meta, err := o.meta(ctx, m)
	if err != nil {
		return step, err
	}
	l := newLogs(&solver.Progress{}, o.Log)
	if _, err := o.execute(ctx, m, meta, l); err != nil {
		err = o.runError(ctx, err, l.tail.bytes())
		if said := l.tail.bytes(); len(said) > 0 {
			solver.ProgressFrom(ctx).Log(2, fmt.Appendf(nil, "the second run said last:\n%s\n", said))
		}
		return step, err
	}
	step.Trees, err = o.differing(ctx, m, results)
	if err != nil {
		step.Unknown = err.Error()
	}
	return step, nil
}

// showAgain shows the second run as a part of the step, until the function is called.
func (o *op) showAgain(ctx context.Context) (end func(time.Time)) {
	begun, p := time.Now(), solver.ProgressFrom(ctx)
	st := client.VertexStatus{ID: "running again to verify", Name: "running again to verify", Started: &begun}
	p.Status(st)
	return func(now time.Time) {
		st.Timestamp, st.Completed = now, &now
		p.Status(st)
	}
}

// differing compares what was written by the first run, which is committed, and by the
// second.
func (o *op) differing(ctx context.Context, second *mounts, results []solver.Result) (all []verify.Tree, err error) {
	for _, s := range o.slots {
		if s.output == none || second.outputs[s.output].tree == nil {
			continue
		}
		ref, err := store.RefOf(results[s.output])
		if err != nil {
			return nil, err
		}
		t, err := verify.Compare(ctx, s.dest, ref, second.outputs[s.output].tree, o.lent())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.dest, err)
		}
		if len(t.Changes) > 0 {
			all = append(all, t)
		}
	}
	return all, nil
}

// lent says whether the process has secrets of the caller's, which it may have written into
// a file: then nothing of files is repeated in a log.
func (o *op) lent() bool {
	if len(o.exec.Secretenv) > 0 {
		return true
	}
	for _, s := range o.slots {
		if s.role == roleSecret || s.role == roleSSH {
			return true
		}
	}
	return false
}

// maxLogged is how many lines of a comparison stand in the log of a step.
const maxLogged = 20

func logVerified(p *solver.Progress, step verify.Step) {
	if step.Same() {
		p.Log(2, []byte("ran twice: both runs came to the same\n"))
		return
	}
	text := []byte("ran twice: the second run came out differently\n")
	lines := step.Lines()
	for _, line := range lines[:min(len(lines), maxLogged)] {
		text = append(append(append(text, "  "...), line...), '\n')
	}
	if more := len(lines) - maxLogged; more > 0 {
		text = fmt.Appendf(text, "  and %d lines more\n", more)
	}
	p.Log(2, text)
}
