package engine

import (
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/ops"
	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/solver"
)

// mayRun asks the request about a step that is to run. Sources, and what frontends need to
// read, are no steps: they are looked up at each build.
func (b *build) mayRun(v solver.Vertex) error {
	if op, ok := v.Sys().(*pb.Op); ok && op.GetSource() != nil || !progress.IsStep(v.Name()) {
		return nil
	}
	if err := b.req.MayRun(v.Digest(), v.Name()); err != nil {
		return &RefusedError{err}
	}
	return nil
}

// RefusedError says that a step did not run because Request.MayRun does not let it.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap is what MayRun said.
func (e *RefusedError) Unwrap() error { return e.Err }

// askBeforeRuns has ops ask the request before they run.
func (b *build) askBeforeRuns() {
	var ask ops.MayRun
	if b.req.MayRun != nil {
		ask = b.mayRun
	}
	b.job.SetValue(ops.MayRunKey, ask)
}
