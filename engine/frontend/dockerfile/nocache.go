package dockerfile

import (
	"fmt"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	tllb "github.com/tenonbuild/tenon/engine/llb"
)

// spreadNoCache has what depends on a step that ignores the cache ignore it, too. A
// step further on, as of the stages that --no-cache-filter does not name, is
// otherwise found by its definition, and then nothing below it is run; and where
// something is, what it makes may be another thing than what the cache knows.
//
// A definition has the inputs of an op before the op.
func spreadNoCache(def *llb.Definition) error {
	for _, dt := range def.Def {
		var op pb.Op
		if err := op.UnmarshalVT(dt); err != nil {
			return fmt.Errorf("the LLB of the Dockerfile: %w", err)
		}
		dgst := digest.FromBytes(dt)
		for _, in := range op.Inputs {
			if def.Metadata[digest.Digest(in.Digest)].IgnoreCache && op.Op != nil {
				if meta := def.Metadata[dgst]; !meta.IgnoreCache {
					tllb.MarkInherited(&meta)
					def.Metadata[dgst] = meta
				}
				break
			}
		}
	}
	return nil
}
