package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/regular"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// stateDamages are done to a path below the state folder. What was there is gone.
var stateDamages = []struct {
	name string
	do   func(path string, dt []byte, rng *rand.Rand) error
}{
	{"missing", func(string, []byte, *rand.Rand) error { return nil }},
	{"empty", func(path string, _ []byte, _ *rand.Rand) error { return os.WriteFile(path, nil, 0o600) }},
	{"cut", func(path string, dt []byte, rng *rand.Rand) error {
		return os.WriteFile(path, dt[:rng.IntN(len(dt)+1)], 0o600)
	}},
	{"flipped", func(path string, dt []byte, rng *rand.Rand) error {
		for range min(len(dt), 1+rng.IntN(8)) {
			dt[rng.IntN(len(dt))] ^= byte(1 << rng.IntN(8))
		}
		return os.WriteFile(path, dt, 0o600)
	}},
	{"too large", func(path string, _ []byte, _ *rand.Rand) error {
		return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40))
	}},
	{"pipe", func(path string, _ []byte, _ *rand.Rand) error { return syscall.Mkfifo(path, 0o600) }},
	{"link to a device", func(path string, _ []byte, _ *rand.Rand) error { return os.Symlink("/dev/zero", path) }},
	{"dangling link", func(path string, _ []byte, _ *rand.Rand) error { return os.Symlink("/nonexistent/x", path) }},
	{"directory", func(path string, _ []byte, _ *rand.Rand) error {
		return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "no name"), nil, 0o600))
	}},
}

// TestDamagedState: whatever is done to what the engine's parts remember, the next build
// opens the root, ends, and is right. Each round damages all of it, each part in another
// way; in the end each damage was done to each part. What is in the place of the parts'
// folders is TestDamagedFolders's, in the store.
func TestDamagedState(t *testing.T) {
	testenv.Root(t)
	w := newRemembering(t)
	w.build()
	w.build() // what the first one has fetched is asked for again
	parts := w.parts()
	for _, part := range []string{"http/*.json", "local/*", "local-last/*", "runtime/names", "runtime/run", "runtime/trial.json"} {
		if !slices.ContainsFunc(parts, func(p string) bool { ok, _ := filepath.Match(part, p); return ok }) {
			t.Errorf("there is no %s in %q", part, parts)
		}
	}
	for round := range stateDamages {
		rng := rand.New(rand.NewPCG(uint64(round), 1))
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			w.t = t
			for n, part := range parts {
				damage := stateDamages[(n+round)%len(stateDamages)]
				t.Logf("%s: %s", part, damage.name)
				path := filepath.Join(w.state(), part)
				dt, err := regular.Read(path, 1<<20)
				if err != nil {
					dt = nil // a folder, or damaged before and not needed since
				}
				check.OK(t, os.RemoveAll(path))
				check.OK(t, damage.do(path, dt, rng))
			}
			watch := time.AfterFunc(2*time.Minute, func() { panic("it hangs") })
			defer watch.Stop()
			w.build()
			w.build()
		})
	}
	w.t = t
	check.OK(t, os.RemoveAll(w.state()))
	w.build()
}

// remembering makes builds of whose sources the engine remembers something.
type remembering struct {
	t         *testing.T
	dir, site string
	tools     string // a folder with a program, whose files are old enough to be remembered
	builds    int
}

func newRemembering(t *testing.T) *remembering {
	busybox, err := filepath.EvalSymlinks(testenv.Tool(t, "busybox"))
	check.OK(t, err)
	w := &remembering{t: t, dir: t.TempDir(), tools: filepath.Dir(busybox)}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("ETag", fmt.Sprintf(`"%d"`, w.builds/2))
		fmt.Fprint(rw, w.builds/2)
	}))
	t.Cleanup(server.Close)
	w.site = server.URL
	check.OK(t, os.Mkdir(filepath.Join(w.dir, "context"), 0o755))
	return w
}

func (w *remembering) root() string  { return filepath.Join(w.dir, "root") }
func (w *remembering) state() string { return filepath.Join(w.root(), "state") }

// parts are what is in the folders below the state folder.
func (w *remembering) parts() []string {
	w.t.Helper()
	parts, err := fs.Glob(os.DirFS(w.state()), "*/*")
	check.OK(w.t, err)
	return parts
}

// build opens the root, builds what is new every second time, and closes the root.
func (w *remembering) build() {
	w.t.Helper()
	ctx := context.Background()
	source, out := filepath.Join(w.dir, "context"), filepath.Join(w.dir, fmt.Sprint("out", w.builds))
	want := fmt.Sprint(w.builds / 2)
	dockerfile := "FROM scratch\nADD " + w.site + "/f /there\nCOPY --from=tools busybox /\nCOPY here /\n" +
		`RUN --network=none ["/busybox", "cp", "/here", "/copy"]` + "\n"
	check.OK(w.t, os.WriteFile(filepath.Join(source, "Dockerfile"), []byte(dockerfile), 0o644))
	check.OK(w.t, os.WriteFile(filepath.Join(source, "here"), []byte(want), 0o644))
	e, err := engine.Open(ctx, engine.Options{Root: w.root()})
	check.OK(w.t, err)
	session, err := local.New(ctx, local.Options{Dirs: map[string]string{"context": source, "dockerfile": source, "tools": w.tools}, Outputs: []string{out}})
	check.OK(w.t, err)
	_, err = e.Build(ctx, engine.Request{
		Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"context:tools": "local:tools"},
		Session: session, Exports: []export.Request{{Type: "local", Dir: out}},
	})
	_, duErr := e.Store().Du(ctx)
	check.OK(w.t, errors.Join(err, duErr, e.Close()))
	for _, name := range []string{"here", "copy", "there"} {
		dt, err := os.ReadFile(filepath.Join(out, name))
		check.OK(w.t, err)
		check.Equal(w.t, name, string(dt), want)
	}
	check.OK(w.t, os.RemoveAll(out))
	w.builds++
}
