package ops

import (
	"context"

	"github.com/tenonbuild/tenon/solver"
)

// MayRunKey is under what each job keeps a MayRun (Job.SetValue); nil lets all run.
const MayRunKey = "tenon.mayrun"

// MayRun says why a vertex of LLB must not run; nil lets it.
type MayRun func(v solver.Vertex) error

// refusal asks the builds of a vertex whether it may run. It may if one of them lets it: the
// others then share what runs for that one.
func refusal(v solver.Vertex, b solver.Builder) func(context.Context) error {
	return func(ctx context.Context) (why error) {
		free := false
		err := b.EachValue(ctx, MayRunKey, func(value any) error {
			ask, ok := value.(MayRun)
			if !ok || ask == nil || free {
				free = true
				return nil
			}
			if err := ask(v); err != nil {
				why = err
			} else {
				free = true
			}
			return nil
		})
		if free || err != nil {
			return err
		}
		return why
	}
}
