package frontend

import (
	"errors"

	"github.com/moby/buildkit/solver/errdefs"

	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/solver"
)

// withSource adds to an error of a vertex where it is in the file that the
// definition was made of, if the definition says so. Errdefs.Sources finds it.
func withSource(err error, g *llb.Graph) error {
	var ve *solver.VertexError
	if !errors.As(err, &ve) {
		return err
	}
	for _, at := range g.Source.GetLocations()[ve.Digest.String()].GetLocations() {
		if i := int(at.SourceIndex); i >= 0 && i < len(g.Source.Infos) {
			err = errdefs.WithSource(err, &errdefs.Source{Info: g.Source.Infos[i], Ranges: at.Ranges})
		}
	}
	return err
}
