package ops

import (
	"context"

	"github.com/tenonbuild/tenon/solver"
)

// ObserverKey is under what a job keeps an Observer (Job.SetValue).
const ObserverKey = "tenon.observer"

// Observer is a build that wants to know at once what its steps have made.
type Observer interface {
	// Ran is told of a vertex of LLB that has run. It borrows the results, and holds nobody up.
	Ran(v solver.Vertex, results []solver.Result)
}

// observers tells the builds of a vertex what it has made.
func observers(v solver.Vertex, b solver.Builder) func(context.Context, []solver.Result) {
	return func(ctx context.Context, results []solver.Result) {
		_ = b.EachValue(ctx, ObserverKey, func(value any) error { // ends with ctx, and so does the step
			if o, ok := value.(Observer); ok {
				o.Ran(v, results)
			}
			return nil
		})
	}
}
