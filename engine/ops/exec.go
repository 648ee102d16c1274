package ops

import (
	"context"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/failed"
	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/engine/verify"
	"github.com/tenonbuild/tenon/solver"
)

func (e *Env) exec(o *pb.ExecOp, platform *pb.Platform, v solver.Vertex, b solver.Builder) (solver.Op, error) {
	d := e.Exec()
	d.Resources, d.Failed, d.Lenders, d.Proxy, d.Verify = llb.MetadataOf(v).GetLinuxResources(), looking(b), lenders(b), proxy(v, b), verifying(b)
	d.TimesCount, d.NoCutoff = llb.TimesCount(v), e.NoCutoff
	return execop.New(o, platform, v, d)
}

// Exec is what processes are run with.
func (e *Env) Exec() execop.Deps {
	return execop.Deps{Store: e.Store, Sessions: e.Sessions, Executor: e.Executor, NoExecutor: e.NoExecutor, Log: e.Log}
}

// LenderKey is under what a job keeps an execop.CacheLender (Job.SetValue).
const LenderKey = "tenon.cachelender"

// lenders finds the builds that may have contents of cache mounts.
func lenders(b solver.Builder) execop.CacheLenders {
	return func(ctx context.Context) (out []execop.CacheLender) {
		_ = b.EachValue(ctx, LenderKey, func(v any) error { // ends with ctx, and so does the step
			if l, ok := v.(execop.CacheLender); ok {
				out = append(out, l)
			}
			return nil
		})
		return out
	}
}

// verifying finds the builds that have steps run twice.
func verifying(b solver.Builder) verify.Builds {
	return func(ctx context.Context) (out []*verify.Steps) {
		_ = b.EachValue(ctx, verify.Key, func(v any) error { // ends with ctx, and so does the step
			if s, ok := v.(*verify.Steps); ok {
				out = append(out, s)
			}
			return nil
		})
		return out
	}
}

// looking finds the builds that may want to look at what an op leaves that fails.
func looking(b solver.Builder) failed.Jobs {
	return func(ctx context.Context) (out []*failed.Steps) {
		_ = b.EachValue(ctx, failed.Key, func(v any) error { // ends with ctx, and then nobody looks
			if s, ok := v.(*failed.Steps); ok {
				out = append(out, s)
			}
			return nil
		})
		return out
	}
}
