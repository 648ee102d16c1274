package control

import (
	"errors"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/solver/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/solver/client"
)

// Status sends what has happened and happens in a build, until that ends, or has happened
// in one that is recorded.
func (s *Server) Status(req *controlapi.StatusRequest, stream controlapi.Control_StatusServer) error {
	if err := sendTime(stream); err != nil {
		return err
	}
	if found, err := s.opt.History.Replay(stream.Context(), req.Ref, stream.Send); found || err != nil {
		return err
	}
	eg, ctx := errgroup.WithContext(stream.Context())
	ch := make(chan *client.SolveStatus)
	eg.Go(func() error {
		err := s.opt.Engine.Status(ctx, req.Ref, ch)
		var unknown *engine.UnknownBuildError
		if errors.As(err, &unknown) {
			return errdefs.NewUnknownJobError(unknown.ID)
		}
		return err
	})
	eg.Go(func() error { return each(ch, stream.Send) })
	return eg.Wait()
}

// each calls do with what happens in a build, as clients take it. After an error of do it
// returns, and somebody else has to read on, or end the stream.
func each(ch <-chan *client.SolveStatus, do func(*controlapi.StatusResponse) error) error {
	// What other builds did before is shown as of now: clients reckon how long a build
	// takes from its first step.
	convert := progress.Converter{Begin: time.Now()}
	for st := range ch {
		for _, m := range convert.Convert(st).Marshal() {
			if err := do(m); err != nil {
				return err
			}
		}
	}
	return nil
}
