package llb

import (
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
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
