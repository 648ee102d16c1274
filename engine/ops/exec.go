package ops

import (
	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/solver"
)

func (e *Env) exec(o *pb.ExecOp, platform *pb.Platform, v solver.Vertex) (solver.Op, error) {
	return execop.New(o, platform, v, execop.Deps{
		Store: e.Store, Sessions: e.Sessions, Executor: e.Executor, NoExecutor: e.NoExecutor,
		Resources: llb.MetadataOf(v).GetLinuxResources(), Log: e.Log,
	})
}
