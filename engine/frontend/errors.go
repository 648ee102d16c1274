package frontend

import (
	"errors"

	"github.com/moby/buildkit/solver/errdefs"

	tenonllb "github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/solver"
)

// withSource adds to an error of a vertex where its op is in the file that the
// definition was made of, if the definition says so. Errdefs.Sources finds it.
func withSource(err error, g *tenonllb.Graph) error {
	var ve *solver.VertexError
	if !errors.As(err, &ve) || g.Source == nil {
		return err
	}
	for op, vertex := range g.Digests {
		if vertex != ve.Digest {
			continue
		}
		for _, at := range g.Source.Locations[op.String()].GetLocations() {
			if int(at.SourceIndex) < 0 || int(at.SourceIndex) >= len(g.Source.Infos) {
				continue
			}
			err = errdefs.WithSource(err, &errdefs.Source{Info: g.Source.Infos[at.SourceIndex], Ranges: at.Ranges})
		}
		return err
	}
	return err
}
