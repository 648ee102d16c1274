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
	answered, leave := s.answers.await(req.Ref)
	defer leave()
	if found, err := s.replay(req.Ref, stream); found || err != nil {
		return err
	}
	err := s.follow(req.Ref, answered, stream)
	var unknown *engine.UnknownBuildError
	if !errors.As(err, &unknown) {
		return err
	}
	select {
	case <-answered: // it was refused before it began, which its client is told
		_, err := s.replay(req.Ref, stream)
		return err
	default:
		return errdefs.NewUnknownJobError(unknown.ID)
	}
}

// replay sends what happened in a build that is recorded. Found is false if it is not.
func (s *Server) replay(ref string, stream controlapi.Control_StatusServer) (found bool, err error) {
	return s.opt.History.Replay(stream.Context(), ref, func(m *controlapi.StatusResponse) error {
		for part := range progress.Parts(m) {
			if err := stream.Send(part); err != nil {
				return err
			}
		}
		return nil
	})
}

// follow sends what happens in a build that is under way, or begins before its request is
// answered.
func (s *Server) follow(ref string, answered <-chan struct{}, stream controlapi.Control_StatusServer) error {
	eg, ctx := errgroup.WithContext(stream.Context())
	ch := make(chan *client.SolveStatus)
	eg.Go(func() error { return s.opt.Engine.Status(ctx, ref, answered, ch) })
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
		for m := range progress.Messages(convert.Convert(st)) {
			if err := do(m); err != nil {
				return err
			}
		}
	}
	return nil
}
