package history

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenonbuild/tenon/engine/why"
)

// Media types of blobs.
const (
	mediaTypeLog   = "application/vnd.buildkit.status.v0"
	mediaTypeError = "application/vnd.googeapis.google.rpc.status+proto"
)

// Recording is the record of a build under way. It is for one goroutine; another one may
// write the log until End.
type Recording struct {
	s     *Store
	rec   *controlapi.BuildHistoryRecord // was told to listeners, and is not changed
	log   *newBlob
	steps map[string]step
	// warnings are those in the log.
	warnings int
	// result is of the build, and results are those of platforms.
	result  *controlapi.BuildResultInfo
	results map[string]*controlapi.BuildResultInfo
	// held are the blobs, and left is how many bytes there may still be of results.
	held []digest.Digest
	left int64
	// account is what the build has done; nil if nobody tells.
	account *why.Build
}

// step is what was seen of a step.
type step struct {
	name              string
	cached, completed bool
	started, ended    time.Time
	err               string
	log               int64 // bytes of output
}

// seen adds what a message says of the step.
func (st step) seen(v *controlapi.Vertex) step {
	st.name, st.err = v.Name, v.Error
	st.cached, st.completed = st.cached || v.Cached, st.completed || v.Completed != nil
	if v.Started != nil && st.started.IsZero() {
		st.started = v.Started.AsTime()
	}
	if v.Completed != nil {
		st.ended = v.Completed.AsTime()
	}
	return st
}

// Begin begins a record: what was asked for. The Recording has to be ended.
func (s *Store) Begin(rec *controlapi.BuildHistoryRecord) (*Recording, error) {
	rec = proto.CloneOf(rec)
	trimAsked(rec)
	rec.CreatedAt = timestamppb.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[rec.Ref] != nil {
		return nil, fmt.Errorf("build %q is under way already", rec.Ref)
	}
	s.active[rec.Ref] = rec
	s.tell(controlapi.BuildHistoryEventType_STARTED, rec)
	return &Recording{s: s, rec: rec, log: s.newBlob(), steps: map[string]step{}, left: maxResults}, nil
}

// Log adds to the log.
func (r *Recording) Log(m *controlapi.StatusResponse) error {
	for _, v := range m.Vertexes {
		r.steps[v.Digest] = r.steps[v.Digest].seen(v)
	}
	for _, l := range m.Logs {
		st := r.steps[l.Vertex]
		st.log += int64(len(l.Msg))
		r.steps[l.Vertex] = st
	}
	r.warnings += len(m.Warnings)
	dt, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	_, err = r.log.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(dt))), dt...))
	return err
}

// End ends the record: with what the exporters said, or with the error that the build
// failed with.
func (r *Recording) End(said map[string]string, failed error) error {
	rec := proto.CloneOf(r.rec)
	rec.CompletedAt, rec.ExporterResponse, rec.NumWarnings = timestamppb.Now(), answered(said), int32(r.warnings)
	rec.Result, rec.Results = r.result, r.results
	for _, st := range r.steps {
		if st.completed || failed != nil { // otherwise it was not needed
			rec.NumTotalSteps++
		}
		if st.cached {
			rec.NumCachedSteps++
		}
		if st.completed {
			rec.NumCompletedSteps++
		}
	}
	var errs []error
	var err error
	rec.Logs, err = r.commit(r.log, mediaTypeLog)
	errs = append(errs, err)
	if failed != nil {
		errs = append(errs, r.fail(rec, failed))
	}
	rec.Trace, err = r.trace(rec)
	errs = append(errs, err, r.keepAccount())
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	delete(r.s.active, rec.Ref)
	err = r.s.keep(rec)
	gone := r.held
	if err == nil { // there may have been a build of that name
		gone, r.s.held[rec.Ref] = r.s.held[rec.Ref], r.held
	}
	return errors.Join(append(errs, err, r.s.release(gone), r.s.settle(time.Now()))...)
}

// fail puts an error into a record: without its details, which are a blob.
func (r *Recording) fail(rec *controlapi.BuildHistoryRecord, failed error) error {
	st, ok := status.FromError(grpcerrors.ToGRPC(context.Background(), failed))
	if !ok {
		st = status.New(codes.Unknown, failed.Error())
	}
	p := st.Proto()
	p.Message = message(p.Message)
	dt, err := proto.Marshal(p)
	if err != nil {
		return err
	}
	p.Details = nil
	rec.Error = p
	rec.ExternalError, err = r.write(dt, mediaTypeError)
	return err
}
