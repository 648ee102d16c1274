package control

import (
	"context"
	"errors"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/session/grpchijack"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/session/remote"
)

// Session is a caller's session, for as long as the stream is open. Builds name it.
func (s *Server) Session(stream controlapi.Control_SessionServer) error {
	conn, closed, header := grpchijack.Hijack(stream)
	ctx, cancel := context.WithCancel(stream.Context())
	var watch errgroup.Group
	watch.Go(func() error {
		defer cancel()
		select {
		case <-closed:
		case <-ctx.Done():
		}
		return nil
	})
	err := remote.Serve(ctx, conn, header, sender(ctx), s.opt.Engine.Sessions())
	cancel()
	return errors.Join(err, watch.Wait())
}
