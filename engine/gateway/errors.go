package gateway

import (
	"errors"
	"strings"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/stack"

	"github.com/tenonbuild/tenon/solver"
)

// Wire is an error of a build as BuildKit's clients take it: with the vertex and the op
// that it is of, which util/grpcerrors makes details of a status of, as it does of where
// in the definition's source that comes from, and of the daemon's stack, which says in its
// records whose error it is. They tell these, and so its text is without them, and in
// BuildKit's words where programs may look for those.
func Wire(err error) error {
	var ve *solver.VertexError
	if !errors.As(err, &ve) {
		return stack.Enable(worded(err))
	}
	return errdefs.WithSolveError(errdefs.WrapVertex(stack.Enable(worded(err)), ve.Digest), nil, nil, nil)
}

// wording is an error with another text.
type wording struct {
	error
	text string
}

func (w *wording) Error() string { return w.text }
func (w *wording) Unwrap() error { return w.error }

// worded gives an error a text without the names of vertices.
func worded(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	var ve *solver.VertexError
	for in := err; errors.As(in, &ve); in = ve.Err {
		text = strings.Replace(text, ve.Error(), ve.Err.Error(), 1)
	}
	var known interface {
		error
		BuildKit() string
	}
	if errors.As(err, &known) && known.BuildKit() != "" {
		text = strings.Replace(text, known.Error(), known.BuildKit(), 1)
	}
	return &wording{err, text}
}

// wire is Wire with the names of what a failed step was given and has left, which
// containers can be made of.
func (b *Bridge) wire(err error) error {
	inputs, outputs, action := b.client.Left(err)
	if len(inputs)+len(outputs) == 0 {
		return Wire(err)
	}
	var ve *solver.VertexError
	err = worded(err)
	if errors.As(err, &ve) {
		err = errdefs.WrapVertex(err, ve.Digest)
	}
	var subject errdefs.IsSolve_Subject
	var op *errdefs.OpError
	switch {
	case len(outputs) == 0:
		subject = &errdefs.Solve_Cache{Cache: &errdefs.ContentCache{Index: int64(action)}}
	case errors.As(err, &op) && op.Op.GetFile() != nil:
		subject = &errdefs.Solve_File{File: &errdefs.FileAction{Index: int64(action)}}
	}
	return errdefs.WithSolveError(err, subject, b.keepAll(inputs), b.keepAll(outputs))
}

func (b *Bridge) keepAll(refs []gwclient.Reference) []string {
	ids := make([]string, len(refs))
	for i, ref := range refs {
		ids[i] = b.keep(ref).Id
	}
	return ids
}
