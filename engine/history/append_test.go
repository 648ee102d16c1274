package history_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/internal/check"
)

// builds records a build of a project, whose source had a tree of that name.
func recorded(t *testing.T, dir, ref, project string, limits history.Limits) {
	t.Helper()
	h, err := history.Append(dir, limits)
	check.OK(t, err)
	rec, err := h.Begin(&controlapi.BuildHistoryRecord{Ref: ref})
	check.OK(t, err)
	check.OK(t, rec.Log(&controlapi.StatusResponse{Logs: []*controlapi.VertexLog{{Vertex: "v", Msg: []byte("said by " + ref)}}}))
	tree := digest.FromString(ref)
	check.OK(t, history.Trees(dir).Put(tree, &contenthash.Node{Entry: contenthash.Entry{Kind: contenthash.Dir}}))
	rec.Account(&why.Build{Ref: ref, Project: project, Ended: time.Now(), Steps: []why.Step{{Kind: why.OpSource, Ops: []digest.Digest{tree}}}})
	check.OK(t, rec.End(nil, nil))
}

// refs are the names of builds, the last one first.
func refs(t *testing.T, dir string) (names []string) {
	check.OK(t, history.In(dir).Each(t.Context(), func(rec *controlapi.BuildHistoryRecord) (bool, error) {
		names = append(names, rec.Ref)
		return true, nil
	}))
	return names
}

// Processes record one after the other, and none reads what the others have left, until it is
// much too much. Then what is removed takes with it all that was kept of it.
func TestAppend(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "history")
	limits := history.Limits{Entries: 3}
	past := history.In(dir)
	_, err := past.Find(t.Context(), "1")
	check.Says(t, err, `no record of build "1"`)
	for n := range 19 {
		recorded(t, dir, fmt.Sprintf("build-%02d", n), "p", limits)
		at := time.Now().Add(time.Duration(n-100) * time.Minute)
		for _, f := range glob(t, dir, "records/*") {
			if fi, err := os.Stat(f); err == nil && time.Since(fi.ModTime()) < time.Minute {
				check.OK(t, os.Chtimes(f, at, at))
			}
		}
	}
	check.Equal(t, "all stay", len(refs(t, dir)), 19)
	rec, err := past.Find(t.Context(), "2")
	check.OK(t, err)
	check.Equal(t, "the one before", rec.Ref, "build-17")
	_, err = past.Find(t.Context(), "build-0")
	check.Says(t, err, "begins the names of several builds")
	recorded(t, dir, "last", "q", limits)
	check.Equal(t, "what stays", fmt.Sprint(refs(t, dir)), "[last build-18 build-17]")
	for _, kept := range []string{"accounts/*", "trees/roots/*"} {
		check.Equal(t, kept, len(glob(t, dir, kept)), 3)
	}
	var said string
	rec, err = past.Find(t.Context(), "last")
	check.OK(t, err)
	check.OK(t, past.Log(t.Context(), rec, func(m *controlapi.StatusResponse) error {
		said += string(m.Logs[0].Msg)
		return nil
	}))
	check.Equal(t, "the log", said, "said by last")
	b, err := past.Account("build-18")
	check.OK(t, err)
	earlier, err := past.Earlier(t.Context(), b, 10, 10)
	check.OK(t, err)
	check.Equal(t, "earlier ones of the project", len(earlier), 1)
}

func glob(t *testing.T, dir, pattern string) []string {
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	check.OK(t, err)
	return found
}

// An account that was cut off, or edited, or is of a newer version, is an error that says so.
func TestDamagedAccount(t *testing.T) {
	dir := t.TempDir()
	recorded(t, dir, "b", "p", history.DefaultLimits)
	path := glob(t, dir, "accounts/*")[0]
	dt, err := os.ReadFile(path)
	check.OK(t, err)
	for cut := range len(dt) {
		check.OK(t, os.WriteFile(path, dt[:cut], 0o600))
		if _, err := history.In(dir).Account("b"); err == nil {
			t.Fatalf("%d of %d bytes were read", cut, len(dt))
		}
	}
	_, err = history.In(dir).Find(t.Context(), "b")
	check.OK(t, err)
}
