package history_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/internal/check"
)

func open(t *testing.T, dir string, limits history.Limits) *history.Store {
	t.Helper()
	s, err := history.Open(dir, limits)
	check.OK(t, err)
	return s
}

// build records a build.
func build(t *testing.T, s *history.Store, ref string, failed error) {
	t.Helper()
	r, err := s.Begin(&controlapi.BuildHistoryRecord{Ref: ref, Frontend: "dockerfile.v0"})
	check.OK(t, err)
	now := timestamppb.Now()
	check.OK(t, r.Log(&controlapi.StatusResponse{Vertexes: []*controlapi.Vertex{{Digest: "a", Name: ref, Completed: now}, {Digest: "b", Cached: true, Completed: now}, {Digest: "c"}}}))
	check.OK(t, r.Log(&controlapi.StatusResponse{Warnings: []*controlapi.VertexWarning{{}}}))
	check.OK(t, r.End(map[string]string{"k": "v"}, failed))
}

// list returns the refs that a request is answered with, and their records.
func list(t *testing.T, s *history.Store, req *controlapi.BuildHistoryRequest) map[string]*controlapi.BuildHistoryRecord {
	t.Helper()
	req.EarlyExit = true
	all := map[string]*controlapi.BuildHistoryRecord{}
	check.OK(t, s.Listen(t.Context(), req, func(e *controlapi.BuildHistoryEvent) error {
		all[e.Record.Ref] = e.Record
		return nil
	}))
	return all
}

func blob(t *testing.T, s *history.Store, d *controlapi.Descriptor) []byte {
	t.Helper()
	dt, err := content.ReadBlob(t.Context(), s.Blobs(), ocispec.Descriptor{Digest: digest.Digest(d.Digest), Size: d.Size})
	check.OK(t, err)
	return dt
}

// What was recorded is there when the history is opened again: the record, the log and the
// error.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, history.DefaultLimits)
	build(t, s, "good", nil)
	build(t, s, "bad", errors.New("it broke"))
	half, err := s.Begin(&controlapi.BuildHistoryRecord{Ref: "half"})
	check.OK(t, err)
	check.OK(t, half.Log(&controlapi.StatusResponse{}))
	check.OK(t, os.WriteFile(filepath.Join(dir, "records", "other"), []byte("no record"), 0o600))

	s = open(t, dir, history.DefaultLimits)
	all := list(t, s, &controlapi.BuildHistoryRequest{})
	check.Equal(t, "records", len(all), 2)
	good := all["good"]
	check.Equal(t, "steps", good.NumTotalSteps, 2)
	check.Equal(t, "completed steps", good.NumCompletedSteps, 2)
	check.Equal(t, "steps of a failed build", all["bad"].NumTotalSteps, 3)
	check.Equal(t, "cached", good.NumCachedSteps, 1)
	check.Equal(t, "warnings", good.NumWarnings, 1)
	check.Equal(t, "response", good.ExporterResponse["k"], "v")
	log := blob(t, s, good.Logs)
	var m controlapi.StatusResponse
	check.OK(t, proto.Unmarshal(log[4:4+binary.LittleEndian.Uint32(log)], &m))
	check.Equal(t, "log", m.Vertexes[0].Name, "good")
	check.Equal(t, "error", all["bad"].Error.Message, "it broke")
	check.Equal(t, "error's blob", len(blob(t, s, all["bad"].ExternalError)) > 0, true)
	if good.Error != nil {
		t.Errorf("a good build has the error %v", good.Error)
	}

	for filter, want := range map[string]string{
		"status==error": "bad", "status==completed": "good", "ref==good": "good", "ref==good,status==error": "", "startedAt>1h,ref==bad": "bad", "duration>1h": "",
	} {
		got := list(t, s, &controlapi.BuildHistoryRequest{Filter: []string{filter}})
		check.Equal(t, filter, len(got) == 1 && got[want] != nil || len(got) == 0 && want == "", true)
	}
	check.Equal(t, "limited", len(list(t, s, &controlapi.BuildHistoryRequest{Limit: 1})), 1)
	err = s.Listen(t.Context(), &controlapi.BuildHistoryRequest{Filter: []string{"startedAt>x"}}, nil)
	check.Says(t, err, "invalid time")
	check.Equal(t, "code", status.Code(err), codes.InvalidArgument)
}

// What is deleted is gone with its blobs, but for those that others have; what is pinned
// stays, and so do those within the limits.
func TestLimits(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, history.Limits{Entries: 2})
	build(t, s, "pinned", nil)
	check.OK(t, s.Pin("pinned", true))
	for _, ref := range []string{"1", "2", "3", "4"} {
		build(t, s, ref, nil)
	}
	all := list(t, s, &controlapi.BuildHistoryRequest{})
	check.Equal(t, "records", len(all), 3)
	check.Equal(t, "the youngest and the pinned", all["3"] != nil && all["4"] != nil && all["pinned"].Pinned, true)
	check.OK(t, s.Delete("4"))
	check.Says(t, s.Delete("4"), "no record")
	check.Says(t, s.Pin("4", true), "no record")
	check.OK(t, s.Delete("3"))
	check.OK(t, s.Delete("pinned"))
	check.OK(t, s.Blobs().Walk(t.Context(), func(info content.Info) error {
		t.Errorf("the blob %s is left", info.Digest)
		return nil
	}))
	check.Equal(t, "off", open(t, t.TempDir(), history.Limits{None: true}).Records(), false)
}

// However young they are, no more records are kept than there is room for, nor pinned than
// leaves room for others.
func TestMost(t *testing.T) {
	dir := t.TempDir()
	limits := history.Limits{Entries: 2, Age: time.Hour, Most: 10}
	s := open(t, dir, limits)
	for n := range 15 {
		build(t, s, fmt.Sprintf("%02d", n), nil)
	}
	all := list(t, s, &controlapi.BuildHistoryRequest{})
	check.Equal(t, "records", len(all), 10)
	check.Equal(t, "the youngest ones", all["05"] != nil && all["14"] != nil, true)
	for n := 5; n < 10; n++ {
		check.OK(t, s.Pin(fmt.Sprintf("%02d", n), true))
	}
	err := s.Pin("10", true)
	check.Says(t, err, "5 records are pinned", "unpin or remove some")
	check.Equal(t, "code", status.Code(err), codes.ResourceExhausted)
	check.OK(t, s.Pin("05", true)) // it is already
	for n := 15; n < 30; n++ {
		build(t, s, fmt.Sprint(n), nil)
	}
	all = list(t, s, &controlapi.BuildHistoryRequest{})
	check.Equal(t, "records", len(all), 10)
	check.Equal(t, "the pinned and the youngest ones", all["05"] != nil && all["09"] != nil && all["25"] != nil, true)

	limits.Bytes = 1
	s = open(t, dir, limits)
	build(t, s, "30", nil)
	all = list(t, s, &controlapi.BuildHistoryRequest{})
	check.Equal(t, "records", len(all), 6)
	check.Equal(t, "the pinned and the last one", all["09"] != nil && all["30"] != nil, true)
	check.OK(t, s.Pin("05", false))
	check.Says(t, s.Pin("30", true), "4 records are pinned")
}

// A listener is told what happens from then on.
func TestListen(t *testing.T) {
	s := open(t, t.TempDir(), history.DefaultLimits)
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan string, 10)
	build(t, s, "first", nil)
	done := make(chan error)
	go func() {
		done <- s.Listen(ctx, &controlapi.BuildHistoryRequest{}, func(e *controlapi.BuildHistoryEvent) error {
			events <- e.Type.String() + " " + e.Record.Ref
			return nil
		})
	}()
	check.Equal(t, "event", <-events, "COMPLETE first")
	build(t, s, "second", nil)
	check.OK(t, s.Delete("first"))
	for _, want := range []string{"STARTED second", "COMPLETE second", "DELETED first"} {
		check.Equal(t, "event", <-events, want)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// A record is no larger than what a client takes, whatever was asked for and answered, and is
// told to have ended whatever bytes an error has.
func TestLargeRecord(t *testing.T) {
	s := open(t, t.TempDir(), history.DefaultLimits)
	large := strings.Repeat("x", 20<<20)
	r, err := s.Begin(&controlapi.BuildHistoryRecord{Ref: "large", FrontendAttrs: map[string]string{"a": large}, Exporters: []*controlapi.Exporter{{Type: "image", Attrs: map[string]string{"a": large}}}})
	check.OK(t, err)
	check.OK(t, r.End(map[string]string{"a": large}, errors.New("\xff"+large)))
	rec := list(t, s, &controlapi.BuildHistoryRequest{})["large"]
	check.Equal(t, "ended", rec.CompletedAt != nil, true)
	check.Equal(t, "the error", strings.HasPrefix(rec.Error.Message, "\uFFFDxxx"), true)
	if n := proto.Size(rec); n > 1<<20 {
		t.Errorf("it has %d bytes", n)
	}
}

// A listener that does not read what it is told is ended: what waits for it is bounded.
func TestListenerThatDoesNotRead(t *testing.T) {
	s := open(t, t.TempDir(), history.Limits{Entries: 1})
	build(t, s, "first", nil)
	reading, builds, done := make(chan bool), make(chan bool), make(chan error)
	go func() {
		done <- s.Listen(t.Context(), &controlapi.BuildHistoryRequest{}, func(*controlapi.BuildHistoryEvent) error {
			reading <- true
			<-builds
			return nil
		})
	}()
	<-reading
	for n := range 4097 {
		_, err := s.Begin(&controlapi.BuildHistoryRecord{Ref: strconv.Itoa(n)})
		check.OK(t, err)
	}
	close(builds)
	err := <-done
	check.Says(t, err, "begin again")
}
