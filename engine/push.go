package engine

import (
	"cmp"
	"context"
	"errors"

	"github.com/moby/buildkit/identity"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/images"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/solver/client"
)

// Images are the images in the engine's store.
func (e *Engine) Images() *images.Images { return images.New(e.store) }

// PushRequest says which images of the store are pushed.
type PushRequest struct {
	// Images are names, or digests of images that have one name.
	Images []string
	images.PushOptions
	// Session lends credentials: see Request. Nil lends none.
	Session session.Session
	// Status, if not nil, gets what happens: see Request.
	Status chan<- *client.SolveStatus
}

// Push pushes images of the store, one after the other, and calls each, if not nil, for
// every one with its name and digest.
func (e *Engine) Push(ctx context.Context, req PushRequest, each func(name, digest string)) (err error) {
	if req.Status != nil {
		defer close(req.Status)
	}
	if err := e.begin(); err != nil {
		return err
	}
	defer e.running.Done()
	id := identity.NewID()
	sess := cmp.Or(req.Session, session.Empty(identity.NewID()))
	_, remove, err := e.lent(ctx, sess, "", "")
	if err != nil {
		return err
	}
	defer remove()
	job, err := e.newJob(id, sess.ID())
	if err != nil {
		return err
	}
	var stream errgroup.Group
	if req.Status != nil {
		b := &build{engine: e, job: job}
		stream.Go(func() error { return b.stream(context.WithoutCancel(ctx), req.Status) })
	}
	for _, ref := range req.Images {
		ctx, end := job.Begin(ctx, "pushing "+ref)
		name, desc, err1 := e.Images().Push(ctx, e.registry, ref, req.PushOptions)
		end(err1)
		if err = err1; err != nil {
			break
		}
		if each != nil {
			each(name, desc.Digest.String())
		}
	}
	return errors.Join(err, job.Discard(), stream.Wait())
}
