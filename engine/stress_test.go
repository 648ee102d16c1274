package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver/client"
)

const stressBuilders = 16

// Builds of overlapping graphs, many of which are cancelled at some point or ignore
// the cache, beside a prune that does not pause: those that are not cancelled give
// what they should, and afterwards nothing is left of any.
func TestManyBuildsAtOnce(t *testing.T) {
	testenv.Root(t)
	testenv.Tool(t, "runc")
	w := newStress(t)
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	before := runtime.NumGoroutine()
	e := w.open(t)
	var builders, pruner errgroup.Group
	done := make(chan struct{})
	pruner.Go(func() error { return w.prune(e, done) })
	for n := range stressBuilders {
		builders.Go(func() error {
			rnd := rand.New(rand.NewPCG(uint64(n), 1))
			for range rounds {
				if err := w.build(e, rnd); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := builders.Wait()
	close(done)
	if err := errors.Join(err, pruner.Wait()); err != nil {
		t.Error(err)
	}
	w.checkIdle(t, e)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	w.checkGone(t, before)
}

// stress is what the builds read.
type stress struct{ root, context, secret string }

func newStress(t *testing.T) *stress {
	busybox, err := os.ReadFile(testenv.Tool(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w := &stress{root: filepath.Join(dir, "root"), context: filepath.Join(dir, "context"), secret: filepath.Join(dir, "secret")}
	for name, dt := range map[string]string{
		"context/busybox": string(busybox), "context/a/file": "a\n", "context/b/file": "b\n",
		"context/Dockerfile": stressDockerfile, "secret": "hidden",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(dt), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// Stages overlap; two of them are equal but for their names.
const stressDockerfile = `
FROM scratch AS base
COPY busybox /bin/sh
FROM base AS left
COPY a /in
RUN --mount=type=cache,id=one,sharing=locked,target=/c1 --mount=type=cache,id=two,sharing=locked,target=/c2 read x </in/file; echo left $x >/out
FROM base AS right
COPY b /in
RUN --mount=type=cache,id=two,sharing=locked,target=/c1 --mount=type=cache,id=one,sharing=locked,target=/c2 read x </in/file; echo right $x >/out
FROM base AS equal
COPY b /in
RUN --mount=type=cache,id=two,sharing=locked,target=/c1 --mount=type=cache,id=one,sharing=locked,target=/c2 read x </in/file; echo right $x >/out
FROM base AS secret
RUN --mount=type=secret,id=s,required=true --mount=type=cache,target=/shared --mount=type=tmpfs,target=/t read x </run/secrets/s; echo ${#x} >/out
FROM base AS failing
RUN echo it fails; exit 3
FROM scratch AS both
COPY --from=left /out /left
COPY --link --from=right /out /right
COPY --link --from=equal /out /equal
FROM scratch AS all
COPY --from=both / /
COPY --from=secret /out /secret
`

func (w *stress) open(t *testing.T) *engine.Engine {
	e, err := engine.Open(t.Context(), engine.Options{Root: w.root})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// prune removes what no build uses, again and again.
func (w *stress) prune(e *engine.Engine, done <-chan struct{}) error {
	for {
		select {
		case <-done:
			return nil
		default:
		}
		if err := e.Store().Prune(context.Background(), store.PruneOptions{All: true}, func(store.UsageInfo) {}); err != nil {
			return fmt.Errorf("prune: %w", err)
		}
	}
}

// build makes one build, of a kind and with an end that rnd says.
func (w *stress) build(e *engine.Engine, rnd *rand.Rand) error {
	sess, err := local.New(context.Background(), local.Options{
		ID:      identity.NewID(),
		Dirs:    map[string]string{"context": w.context, "dockerfile": w.context},
		Secrets: []local.Secret{{ID: "s", File: w.secret}},
	})
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(w.root), "out-")
	if err != nil {
		return err
	}
	req := engine.Request{Session: sess, Exports: []export.Request{{Type: export.TypeLocal, Dir: dir}}}
	if rnd.IntN(2) == 0 {
		req.Exports = append(req.Exports, export.Request{Type: export.TypeOCI, Attrs: map[string]string{}, Open: discard})
	}
	want, fails := w.choose(&req, rnd)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	after := -1
	if rnd.IntN(2) == 0 {
		after = rnd.IntN(40)
	}
	status := make(chan *client.SolveStatus)
	req.Status = status
	var watch errgroup.Group
	var logs strings.Builder
	watch.Go(func() error {
		n := 0
		for st := range status {
			for _, l := range st.Logs {
				logs.Write(l.Data)
			}
			if n == after {
				cancel()
			}
			n++
		}
		return nil
	})
	_, err = e.Build(ctx, req)
	_ = watch.Wait()
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return nil
	case fails && (err == nil || !strings.Contains(err.Error(), "exit code: 3")):
		return fmt.Errorf("a build that should fail: %v; it printed %q", err, logs.String())
	case fails && !strings.Contains(logs.String(), "it fails\n"):
		return fmt.Errorf("a build that should say that it fails printed %q", logs.String())
	case fails:
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w; it printed %q", req.FrontendAttrs["target"], err, logs.String())
	}
	return checkFiles(dir, want)
}

// choose says what is built, and what files should come of it.
func (w *stress) choose(req *engine.Request, rnd *rand.Rand) (want map[string]string, fails bool) {
	req.NoCache = rnd.IntN(5) == 0
	if rnd.IntN(3) == 0 {
		req.Definition = w.definition()
		return map[string]string{"left": "left a\n", "more": "more\n"}, false
	}
	targets := []string{"left", "right", "secret", "both", "all", "failing"}
	target := targets[rnd.IntN(len(targets))]
	req.Frontend = "dockerfile.v0"
	req.FrontendAttrs = map[string]string{"target": target}
	if rnd.IntN(5) == 0 {
		req.FrontendAttrs["no-cache"] = []string{"", "right", "left,both"}[rnd.IntN(3)]
	}
	switch target {
	case "left":
		want = map[string]string{"out": "left a\n"}
	case "right":
		want = map[string]string{"out": "right b\n"}
	case "secret":
		want = map[string]string{"out": "6\n"}
	case "all":
		want = map[string]string{"left": "left a\n", "right": "right b\n", "equal": "right b\n", "secret": "6\n"}
	case "both":
		want = map[string]string{"left": "left a\n", "right": "right b\n", "equal": "right b\n"}
	}
	return want, target == "failing"
}

// definition is LLB that shares its base with the Dockerfile, with a merge and a
// diff.
func (w *stress) definition() *pb.Definition {
	src := llb.Local("context")
	base := llb.Scratch().File(llb.Copy(src, "busybox", "/bin/sh", &llb.CopyInfo{CreateDestPath: true}))
	run := base.File(llb.Copy(src, "a", "/in", &llb.CopyInfo{CopyDirContentsOnly: true})).
		Run(llb.Args([]string{"/bin/sh", "-c", "read x </in/file; echo left $x >/left"}))
	more := base.Run(llb.Args([]string{"/bin/sh", "-c", "echo more >/mnt/more"}))
	mnt := more.AddMount("/mnt", llb.Scratch())
	top := llb.Merge([]llb.State{llb.Diff(base, run.Root()), mnt})
	def, err := top.Marshal(context.Background())
	if err != nil {
		panic(err)
	}
	return def.ToPB()
}

func checkFiles(dir string, want map[string]string) error {
	for name, dt := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if string(got) != dt {
			return fmt.Errorf("%s is %q, want %q", name, got, dt)
		}
	}
	return nil
}

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }

func discard(context.Context, map[string]string) (io.WriteCloser, error) {
	return nowhere{io.Discard}, nil
}

// checkIdle makes sure that nothing is held any more. A build that is cancelled
// returns at once, before its steps have cleaned up: that is waited for.
func (w *stress) checkIdle(t *testing.T, e *engine.Engine) {
	t.Helper()
	if s := e.Solver().Stats(); s.Jobs != 0 || s.Vertices != 0 || s.Edges != 0 {
		t.Errorf("the solver still has %d jobs, %d vertices, %d edges", s.Jobs, s.Vertices, s.Edges)
	}
	var left []string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); runtime.Gosched() {
		if left = w.left(t, e); len(left) == 0 {
			return
		}
	}
	for _, what := range left {
		t.Error(what)
	}
}

// left lists what is in use.
func (w *stress) left(t *testing.T, e *engine.Engine) (left []string) {
	t.Helper()
	list, err := e.Store().Du(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range list {
		if u.InUse {
			left = append(left, fmt.Sprintf("record %s (%s) is in use", u.ID, u.Description))
		}
	}
	for _, dir := range []string{"runtime/run", "runtime/names", "secrets"} {
		entries, err := os.ReadDir(e.Store().Path(dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.IsDir() || dir == "runtime/names" {
				left = append(left, fmt.Sprintf("%s/%s is left", dir, entry.Name()))
			}
		}
	}
	return left
}

// checkGone makes sure that no mount and no goroutine is left.
func (w *stress) checkGone(t *testing.T, before int) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(mounts), "\n") {
		if strings.Contains(line, w.root) {
			t.Errorf("a mount is left: %s", line)
		}
	}
	// A goroutine ends a moment after who waits for it was told.
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(end); {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before:\n%s", n, before, buf[:runtime.Stack(buf, true)])
	}
}
