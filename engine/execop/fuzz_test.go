package execop_test

import (
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/execop"
)

// FuzzNew: whatever a definition says, making an op of it is an error or gives one
// whose cache map fits its inputs.
func FuzzNew(f *testing.F) {
	for _, op := range []*pb.ExecOp{
		sh("x"),
		sh("x", with(&pb.Mount{Input: 1, Dest: "/m", Output: 1, Selector: "/../a"}), cache("id", 1, 0)),
		sh("x", secretMount(&pb.SecretOpt{ID: "s"}, "/s"), sshMount(&pb.SSHOpt{}), func(op *pb.ExecOp) {
			op.Secretenv = []*pb.SecretEnv{{ID: "i", Name: "N"}}
			op.Meta.ExtraHosts = []*pb.HostIP{{Host: "h", IP: "::1"}}
		}),
	} {
		dt, err := op.MarshalVT()
		noError(f, err)
		f.Add(dt, 2)
	}
	f.Fuzz(func(t *testing.T, dt []byte, inputs int) {
		var op pb.ExecOp
		if inputs < 0 || inputs > 16 || op.UnmarshalVT(dt) != nil {
			return
		}
		o, err := execop.New(&op, nil, vertex{"v", inputs}, execop.Deps{})
		if err != nil {
			return
		}
		cm, done, err := o.CacheMap(t.Context(), 0)
		if err != nil || !done || len(cm.Deps) != inputs || cm.Digest.Validate() != nil {
			t.Errorf("%v, %t, %+v", err, done, cm)
		}
	})
}
