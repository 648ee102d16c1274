package provenance

import (
	"fmt"
	"slices"

	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layersOf are the layers of the trees that steps have made, by BuildKit's names of outputs
// ("step1:0"): of those that stand on each other below the result, as far as it is certain
// which layer is whose.
func layersOf(b Build, steps []types.BuildStep) map[string][][]ocispec.Descriptor {
	if len(b.Layers) == 0 || len(steps) == 0 {
		return nil
	}
	chain, base := standing(steps)
	if len(chain) == 0 {
		return nil
	}
	out := map[string][][]ocispec.Descriptor{chain[0]: {b.Layers}}
	made, lowest := len(chain), 0 // of those that made a layer each, if all goes well
	if base {
		if b.Base < 0 || b.Base > len(b.Layers) {
			return out
		}
		made, lowest = made-1, b.Base
		out[chain[made]] = [][]ocispec.Descriptor{b.Layers[:lowest]}
	}
	if made != len(b.Layers)-lowest {
		return out
	}
	for i, output := range chain[:made] {
		out[output] = [][]ocispec.Descriptor{b.Layers[:len(b.Layers)-i]}
	}
	return out
}

// standing are the outputs that the result stands on, itself the first, and whether the
// last is a source.
func standing(steps []types.BuildStep) (chain []string, base bool) {
	byID := map[string]types.BuildStep{}
	for _, s := range steps {
		byID[s.ID] = s
	}
	last := steps[len(steps)-1]
	if len(last.Inputs) != 1 {
		return nil, false
	}
	for output := last.Inputs[0]; ; {
		chain = append(chain, output)
		id, index := split(output)
		s := byID[id]
		if _, base = s.Op.GetOp().(*pb.Op_Source); base {
			return chain, true
		}
		in := below(s.Op, index, len(s.Inputs))
		if in < 0 || in >= len(s.Inputs) {
			return chain, false
		}
		output = s.Inputs[in]
	}
}

func split(output string) (id string, index int64) {
	var n int
	if _, err := fmt.Sscanf(output, "step%d:%d", &n, &index); err != nil {
		return "", 0
	}
	return fmt.Sprintf("step%d", n), index
}

// below is the input that an output of an op is a change of; -1 if there is none.
func below(op *pb.Op, output int64, inputs int) int {
	switch op := op.GetOp().(type) {
	case *pb.Op_Exec:
		i := slices.IndexFunc(op.Exec.GetMounts(), func(m *pb.Mount) bool { return m.GetOutput() == output })
		if i >= 0 {
			return int(op.Exec.Mounts[i].GetInput())
		}
	case *pb.Op_File:
		actions := op.File.GetActions()
		i := slices.IndexFunc(actions, func(a *pb.FileAction) bool { return a.GetOutput() == output })
		for i >= 0 && i < len(actions) {
			in := int(actions[i].GetInput())
			if in < inputs {
				return in
			}
			if in-inputs >= i { // an action stands on earlier ones
				return -1
			}
			i = in - inputs
		}
	}
	return -1
}
