package frontend

import (
	"errors"

	"github.com/moby/buildkit/solver/errdefs"
	"github.com/opencontainers/go-digest"

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
	return llb.Locate(withOp(err, g, ve.Digest), g.Source, located(g, ve.Digest))
}

// withOp adds the op of a vertex to an error, as the definition has it. An errdefs.OpError
// has it: debuggers look for its digest in the definition.
func withOp(err error, g *llb.Graph, d digest.Digest) error {
	for _, v := range g.Vertices {
		if v.Digest() == d {
			if op := llb.OpOf(v); op != nil {
				return errdefs.WithOp(err, op, v.Options().Description)
			}
		}
	}
	return err
}

// located is the vertex that stands for d in the source map: d itself, or the one
// that it is made for. A URL that a file is added from has no place in a Dockerfile;
// the step that adds it has.
func located(g *llb.Graph, d digest.Digest) digest.Digest {
	for range g.Vertices {
		if len(g.Source.GetLocations()[d.String()].GetLocations()) > 0 {
			return d
		}
		users := users(g, d)
		if len(users) != 1 {
			return "" // it cannot be told which of them is meant
		}
		d = users[0]
	}
	return ""
}

// users are the vertices that have d as an input.
func users(g *llb.Graph, d digest.Digest) (out []digest.Digest) {
	for _, v := range g.Vertices {
		for _, in := range v.Inputs() {
			if in.Vertex.Digest() == d {
				out = append(out, v.Digest())
				break
			}
		}
	}
	return out
}
