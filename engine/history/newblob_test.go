package history_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	controlapi "github.com/moby/buildkit/api/services/control"

	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/internal/check"
)

// logged records a build with a log of some messages, and returns its record.
func logged(t *testing.T, s *history.Store, ref string, messages int) *controlapi.BuildHistoryRecord {
	t.Helper()
	r, err := s.Begin(&controlapi.BuildHistoryRecord{Ref: ref})
	check.OK(t, err)
	line := []byte(strings.Repeat("x", 1000))
	for range messages {
		check.OK(t, r.Log(&controlapi.StatusResponse{Logs: []*controlapi.VertexLog{{Vertex: ref, Msg: line}}}))
	}
	check.OK(t, r.End(nil, nil))
	return list(t, s, &controlapi.BuildHistoryRequest{})[ref]
}

// messages replays a log.
func messages(t *testing.T, s *history.Store, ref string) (n int) {
	t.Helper()
	found, err := s.Replay(t.Context(), ref, func(*controlapi.StatusResponse) error { n++; return nil })
	check.OK(t, err)
	check.Equal(t, "found", found, true)
	return n
}

// A log that is too large for memory is written to a file while the build runs, and what a
// build that was killed has left of it goes.
func TestLargeLog(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, history.DefaultLimits)
	check.Equal(t, "size", logged(t, s, "large", 200).Logs.Size > 200_000, true)
	killed, err := s.Begin(&controlapi.BuildHistoryRecord{Ref: "killed"})
	check.OK(t, err)
	for range 200 {
		check.OK(t, killed.Log(&controlapi.StatusResponse{Logs: []*controlapi.VertexLog{{Msg: make([]byte, 1000)}}}))
	}
	left := func() int {
		entries, err := os.ReadDir(filepath.Join(dir, "unfinished"))
		check.OK(t, err)
		return len(entries)
	}
	check.Equal(t, "files under way", left(), 1)
	s = open(t, dir, history.DefaultLimits)
	check.Equal(t, "files left", left(), 0)
	check.Equal(t, "messages", messages(t, s, "large"), 200)
}

// A log that a power cut has cut off is as if it had not been there, and is written again
// where another build has the same.
func TestCutOff(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, history.DefaultLimits)
	rec := logged(t, s, "a", 3)
	files, err := filepath.Glob(filepath.Join(dir, "content/blobs/sha256", strings.TrimPrefix(rec.Logs.Digest, "sha256:")))
	check.OK(t, err)
	check.OK(t, os.Truncate(files[0], 10))
	s = open(t, dir, history.DefaultLimits)
	if _, err := s.Replay(t.Context(), "a", nil); err == nil {
		t.Error("there is a log")
	}
	check.OK(t, s.Delete("a"))
	logged(t, s, "a", 3)
	check.Equal(t, "messages", messages(t, s, "a"), 3)
}
