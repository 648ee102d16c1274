package llb

import (
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/solver"
)

// Upon returns the inputs of a vertex that an output of it is made upon: the layers of the
// output's tree are theirs, and then its own. Of vertices that Load did not make, and where
// that depends on what is in the trees, there are none.
func Upon(e solver.Edge) []solver.Edge {
	op, ok := e.Vertex.Sys().(*pb.Op)
	if !ok {
		return nil
	}
	in := e.Vertex.Inputs()
	at := func(n int64) []solver.Edge {
		if n < 0 || n >= int64(len(in)) {
			return nil
		}
		return in[n : n+1 : n+1]
	}
	switch k := op.Op.(type) {
	case *pb.Op_Exec:
		for _, m := range k.Exec.GetMounts() {
			if m.GetOutput() == int64(e.Index) {
				return at(m.GetInput())
			}
		}
	case *pb.Op_File:
		return at(fileBase(k.File.GetActions(), int64(len(in)), int64(e.Index)))
	case *pb.Op_Merge:
		var all []solver.Edge
		for _, m := range k.Merge.GetInputs() {
			all = append(all, at(m.GetInput())...)
		}
		return all
	case *pb.Op_Passthrough:
		if outs := k.Passthrough.GetOutputs(); int(e.Index) < len(outs) {
			return at(outs[e.Index])
		}
	}
	return nil
}

// fileBase is the input that the actions of a file op with an output begin with.
func fileBase(actions []*pb.FileAction, inputs, output int64) int64 {
	for n := len(actions) - 1; n >= 0; n-- {
		if actions[n].GetOutput() != output {
			continue
		}
		at := actions[n].GetInput()
		// An action is upon the results of those before it only.
		for last := int64(n); at >= inputs && at-inputs < last; {
			last = at - inputs
			at = actions[last].GetInput()
		}
		return at
	}
	return -1
}
