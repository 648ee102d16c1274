package history

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Media types of blobs.
const (
	mediaTypeLog   = "application/vnd.buildkit.status.v0"
	mediaTypeError = "application/vnd.googeapis.google.rpc.status+proto"
)

// Recording is the record of a build under way. It is for one goroutine.
type Recording struct {
	s     *Store
	rec   *controlapi.BuildHistoryRecord
	log   *blob
	steps map[string]step
	// warnings are counted here: rec was told to listeners.
	warnings int
}

// step is what was seen of a step.
type step struct{ cached, completed bool }

// Begin begins a record: what was asked for. The Recording has to be ended.
func (s *Store) Begin(rec *controlapi.BuildHistoryRecord) (*Recording, error) {
	rec = proto.CloneOf(rec)
	rec.CreatedAt = timestamppb.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[rec.Ref] != nil {
		return nil, fmt.Errorf("build %q is under way already", rec.Ref)
	}
	log, err := s.newBlob("log of " + rec.Ref)
	if err != nil {
		return nil, fmt.Errorf("log of build %s: %w", rec.Ref, err)
	}
	s.active[rec.Ref] = rec
	s.tell(controlapi.BuildHistoryEventType_STARTED, rec)
	return &Recording{s: s, rec: rec, log: log, steps: map[string]step{}}, nil
}

// Log adds to the log.
func (r *Recording) Log(m *controlapi.StatusResponse) error {
	for _, v := range m.Vertexes {
		st := r.steps[v.Digest]
		r.steps[v.Digest] = step{cached: st.cached || v.Cached, completed: st.completed || v.Completed != nil}
	}
	r.warnings += len(m.Warnings)
	dt, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	_, err = r.log.w.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(dt))))
	if err == nil {
		_, err = r.log.w.Write(dt)
	}
	return err
}

// End ends the record: with what the exporters said, or with the error that the build
// failed with.
func (r *Recording) End(said map[string]string, failed error) error {
	rec := proto.CloneOf(r.rec)
	rec.CompletedAt, rec.ExporterResponse, rec.NumWarnings = timestamppb.Now(), said, int32(r.warnings)
	for _, st := range r.steps {
		rec.NumTotalSteps++
		if st.cached {
			rec.NumCachedSteps++
		}
		if st.completed {
			rec.NumCompletedSteps++
		}
	}
	var errs []error
	var err error
	rec.Logs, err = r.log.commit(mediaTypeLog)
	errs = append(errs, err)
	if failed != nil {
		errs = append(errs, r.fail(rec, failed))
	}
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	delete(r.s.active, rec.Ref)
	return errors.Join(append(errs, r.s.keep(rec), r.s.limit(time.Now()))...)
}

// fail puts an error into a record: without its details, which are a blob.
func (r *Recording) fail(rec *controlapi.BuildHistoryRecord, failed error) error {
	st, ok := status.FromError(grpcerrors.ToGRPC(context.Background(), failed))
	if !ok {
		st = status.New(codes.Unknown, failed.Error())
	}
	p := st.Proto()
	dt, err := proto.Marshal(p)
	if err != nil {
		return err
	}
	p.Details = nil
	rec.Error = p
	b, err := r.s.newBlob("error of " + rec.Ref)
	if err != nil {
		return err
	}
	if _, err := b.w.Write(dt); err != nil {
		return errors.Join(err, b.content.Close())
	}
	rec.ExternalError, err = b.commit(mediaTypeError)
	return err
}

// blob is a blob that is written.
type blob struct {
	content content.Writer
	w       *bufio.Writer
}

func (s *Store) newBlob(ref string) (*blob, error) {
	w, err := content.OpenWriter(context.Background(), s.blobs, content.WithRef(ref))
	if err != nil {
		return nil, err
	}
	if err := w.Truncate(0); err != nil { // of a build that was killed
		return nil, errors.Join(err, w.Close())
	}
	return &blob{w, bufio.NewWriter(w)}, nil
}

// commit ends the blob.
func (b *blob) commit(mediaType string) (_ *controlapi.Descriptor, err error) {
	defer func() { err = errors.Join(err, b.content.Close()) }()
	if err := b.w.Flush(); err != nil {
		return nil, err
	}
	st, err := b.content.Status()
	if err != nil {
		return nil, err
	}
	desc := ocispec.Descriptor{Digest: b.content.Digest(), Size: st.Offset}
	if desc.Size == 0 {
		desc.Digest = digest.FromBytes(nil)
	}
	if err := b.content.Commit(context.Background(), desc.Size, desc.Digest); err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, err
	}
	return &controlapi.Descriptor{MediaType: mediaType, Digest: desc.Digest.String(), Size: desc.Size}, nil
}
