package control

import (
	"context"
	"maps"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/history"
)

// ListenBuildHistory sends records of builds.
func (s *Server) ListenBuildHistory(req *controlapi.BuildHistoryRequest, stream controlapi.Control_ListenBuildHistoryServer) error {
	if req.Limit < 0 {
		return status.Errorf(codes.InvalidArgument, "the limit of records is %d", req.Limit)
	}
	if err := sendTime(stream); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	var listening errgroup.Group
	listening.Go(func() error {
		defer cancel(nil)
		return s.opt.History.Listen(ctx, req, stream.Send)
	})
	select {
	case <-s.ending:
		cancel(errEnding)
	case <-ctx.Done():
	}
	return listening.Wait()
}

var errEnding = status.Error(codes.Unavailable, "the daemon is about to end")

// UpdateBuildHistory pins or deletes a record. To finalize one there is nothing to do: it
// is whole when its build has ended.
func (s *Server) UpdateBuildHistory(_ context.Context, req *controlapi.UpdateBuildHistoryRequest) (*controlapi.UpdateBuildHistoryResponse, error) {
	h, err := s.opt.History, error(nil)
	switch {
	case req.Delete:
		err = h.Delete(req.Ref)
	case !req.Finalize:
		err = h.Pin(req.Ref, req.Pinned)
	case !h.Has(req.Ref):
		err = &history.NotFoundError{Ref: req.Ref}
	}
	if err != nil {
		return nil, err
	}
	return &controlapi.UpdateBuildHistoryResponse{}, nil
}

// record begins the record of a build; nil for one that is not recorded.
func (s *Server) record(req *controlapi.SolveRequest) (*history.Recording, error) {
	if req.Internal || !s.opt.History.Records() {
		return nil, nil
	}
	rec := &controlapi.BuildHistoryRecord{Ref: req.Ref, Frontend: req.Frontend, FrontendAttrs: recordedAttrs(req)}
	for _, x := range exporters(req) {
		if x != nil {
			rec.Exporters = append(rec.Exporters, x)
		}
	}
	return s.opt.History.Begin(rec)
}

// recordedAttrs are the frontend's attributes without the credentials of stores.
func recordedAttrs(req *controlapi.SolveRequest) map[string]string {
	attrs := maps.Clone(req.FrontendAttrs)
	delete(attrs, "cache-imports")
	return attrs
}

// keepResults has a record keep the images that outputs write, by their numbers, and how
// results were built. What cannot be kept is noticed, and fails no build.
func (s *Server) keepResults(rec *history.Recording) (output func(n int, x *export.Request), built func(engine.Built)) {
	if rec == nil {
		return func(int, *export.Request) {}, nil
	}
	output = func(n int, x *export.Request) {
		x.Written = func(ctx context.Context, from content.Provider, desc ocispec.Descriptor) {
			s.notice(rec.Image(ctx, n, from, desc))
		}
	}
	return output, func(b engine.Built) {
		err := b.Err
		if err == nil {
			err = rec.Provenance(b.Platform, b.PredicateType, b.Predicate)
		}
		s.notice(err)
	}
}

// registerContent serves the blobs that records name, as containerd's content service.
func (s *Server) registerContent(to grpc.ServiceRegistrar) {
	to.RegisterService(&contentapi.Content_ServiceDesc, contentserver.New(readOnly{s.opt.History.Blobs()}))
}

// readOnly is a content store that is not changed.
type readOnly struct{ content.Store }

var errReadOnly = status.Error(codes.PermissionDenied, "the content of build records is only to be read")

// Writer implements content.Ingester.
func (readOnly) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, errReadOnly
}

// Delete implements content.Manager.
func (readOnly) Delete(context.Context, digest.Digest) error { return errReadOnly }

// Update implements content.Manager.
func (readOnly) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, errReadOnly
}

// Abort implements content.IngestManager.
func (readOnly) Abort(context.Context, string) error { return errReadOnly }
