package llb

import (
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
)

// Locate adds to an error of an op or a vertex where it is in the file that the
// definition was made of, if src, which may be nil, says so by that digest.
// errdefs.Sources finds it. What src says is not trusted.
func Locate(err error, src *pb.Source, d digest.Digest) error {
	for _, at := range src.GetLocations()[d.String()].GetLocations() {
		if i := int(at.GetSourceIndex()); i >= 0 && i < len(src.Infos) {
			err = errdefs.WithSource(err, &errdefs.Source{Info: src.Infos[i], Ranges: at.GetRanges()})
		}
	}
	return err
}

// Position is a place in a file that a definition was made of.
type Position struct {
	File string
	Line int // from 1
}

// Where says where a vertex of the graph comes from: the first place, if there are several.
func (g *Graph) Where(v solver.Vertex) (Position, bool) {
	for _, at := range g.Source.GetLocations()[v.Digest().String()].GetLocations() {
		i := int(at.GetSourceIndex())
		if i < 0 || i >= len(g.Source.Infos) || len(at.GetRanges()) == 0 {
			continue
		}
		return Position{File: g.Source.Infos[i].GetFilename(), Line: int(at.Ranges[0].GetStart().GetLine())}, true
	}
	return Position{}, false
}
