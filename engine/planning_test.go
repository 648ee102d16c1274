package engine_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/plan"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver/client"
)

var (
	planSeeds = flag.Int("plan.seeds", 10, "how many random Dockerfiles TestRandomPlans edits")
	planFirst = flag.Uint64("plan.first", 1, "the seed of the first one")
)

// editsOfPlan is how many edits are made of one Dockerfile.
const editsOfPlan = 20

// Contract 30: random edits of random Dockerfiles are planned and then built, and what the
// plan says of hits and misses is what the build does.
func TestRandomPlans(t *testing.T) {
	testenv.Root(t)
	seeds := *planSeeds
	if testing.Short() {
		seeds = min(seeds, 3)
	}
	said := map[plan.Verdict]int{}
	ran, loaded := 0, 0 // of those of which it was not known
	for seed := *planFirst; seed < *planFirst+uint64(seeds); seed++ {
		w := newPlanWorld(t, seed)
		for range editsOfPlan {
			w.edit()
			planned, built := w.planAndBuild()
			for v, n := range w.compare(planned, built) {
				said[v] += n
			}
			for _, s := range built.Steps {
				if d := planned.Decided[s.Digest]; d.Verdict == plan.Unknown && s.Ran() {
					ran++
				} else if d.Verdict == plan.Unknown {
					loaded++
				}
			}
		}
	}
	t.Logf("%v; of the unknown %d ran, %d did not", said, ran, loaded)
	for _, v := range []plan.Verdict{plan.Hit, plan.Miss, plan.Unknown, plan.NotNeeded} {
		if said[v] < 10 && *planFirst == 1 {
			t.Errorf("only %d steps are said to be: %s", said[v], v)
		}
	}
	if (ran == 0 || loaded == 0) && *planFirst == 1 && !testing.Short() {
		t.Errorf("of the unknown %d ran, %d did not", ran, loaded)
	}
}

// planWorld is a context that is edited, and a Dockerfile of several stages.
type planWorld struct {
	t      *testing.T
	seed   uint64
	r      *rand.Rand
	e      *engine.Engine
	dir    string
	run    bool // there are RUN steps
	stages [][]string
	args   map[string]string
	noted  []string
	files  []string
}

func newPlanWorld(t *testing.T, seed uint64) *planWorld {
	w := &planWorld{t: t, seed: seed, r: rand.New(rand.NewPCG(seed, 30)), dir: t.TempDir(), args: map[string]string{"A": "0", "B": "0"}}
	e, err := engine.Open(t.Context(), engine.Options{Root: filepath.Join(t.TempDir(), "root")})
	check.OK(t, err)
	t.Cleanup(func() { check.OK(t, e.Close()) })
	w.e = e
	if _, err := exec.LookPath("runc"); err == nil {
		// Each of them takes a while.
		w.run = seed%4 == 0
	}
	for _, f := range []string{"f", "g", "d/a", "d/b", "d/c/x"} {
		w.files = append(w.files, f)
		w.write(f, "0")
	}
	if w.run {
		testenv.Tool(t, "busybox")
		busybox, err := exec.LookPath("busybox")
		check.OK(t, err)
		dt, err := os.ReadFile(busybox)
		check.OK(t, err)
		w.write("busybox", string(dt))
		check.OK(t, os.Chmod(filepath.Join(w.dir, "busybox"), 0o755))
	}
	for n := range 2 + w.r.IntN(3) {
		w.stages = append(w.stages, nil)
		for range 1 + w.r.IntN(4) {
			w.stages[n] = append(w.stages[n], w.instruction(n))
		}
	}
	return w
}

func (w *planWorld) write(name, text string) {
	path := filepath.Join(w.dir, name)
	check.OK(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
	check.OK(w.t, os.WriteFile(path, []byte(text), 0o644))
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// instruction is one of a stage.
func (w *planWorld) instruction(stage int) string {
	r := w.r
	file := func() string { return pick(r, "f", "g", "d", "d/a", "d/*", "d/c") }
	kinds := 6
	if w.run {
		kinds = 9
	}
	switch r.IntN(kinds) {
	case 0:
		return fmt.Sprintf("COPY %s%s /%s/", pick(r, "", "", "--link "), file(), pick(r, "p", "q", "r"))
	case 1:
		return fmt.Sprintf("COPY f g /%s/", pick(r, "p", "q"))
	case 2:
		return "COPY <<end /$" + pick(r, "A", "B") + "\n$" + pick(r, "A", "B") + "\nend"
	case 3:
		return "WORKDIR /w" + pick(r, "1", "2", "$A")
	case 4, 5:
		if stage == 0 {
			return "COPY --chmod=" + pick(r, "600", "644") + " f /m"
		}
		from := r.IntN(stage)
		return fmt.Sprintf("COPY --from=s%d %s /%s/", from, pick(r, "/base", "/p*", "/", "/q*"), pick(r, "x", "y"))
	case 6:
		return "RUN [\"/busybox\", \"echo\", \"" + pick(r, "1", "2", "$A") + "\"]"
	case 7:
		return "RUN [\"/busybox\", \"cp\", \"/base\", \"/copied" + pick(r, "1", "2") + "\"]"
	}
	return "RUN --mount=type=bind,target=/ctx [\"/busybox\", \"cp\", \"/ctx/" + pick(r, "f", "g") + "\", \"/" + pick(r, "c1", "c2") + "\"]"
}

// edit makes one change.
func (w *planWorld) edit() {
	r, n := w.r, w.r.IntN(len(w.stages))
	at := r.IntN(len(w.stages[n]) + 1)
	has := at < len(w.stages[n])
	note := ""
	switch k := r.IntN(11); {
	case k < 4:
		f := pick(r, w.files...)
		text := fmt.Sprint(r.IntN(3))
		w.write(f, text)
		note = "write " + f + " " + text
	case k == 4:
		name, v := pick(r, "A", "B"), fmt.Sprint(r.IntN(3))
		w.args[name] = v
		note = "arg " + name + "=" + v
	case k == 5 && has:
		w.stages[n][at] = w.instruction(n)
		note = "replace"
	case k == 6:
		w.stages[n] = slices.Insert(w.stages[n], at, w.instruction(n))
		note = "insert"
	case k == 7 && has && len(w.stages[n]) > 1:
		w.stages[n] = slices.Delete(w.stages[n], at, at+1)
		note = "delete"
	case k == 8:
		f := filepath.Join(w.dir, pick(r, w.files...))
		check.OK(w.t, os.Chmod(f, pick(r, os.FileMode(0o644), 0o600)))
		note = "chmod " + f
	case k == 9:
		check.OK(w.t, w.e.Store().Prune(w.t.Context(), store.PruneOptions{MaxUsedSpace: 1 + r.Int64N(1<<17)}, func(store.UsageInfo) {}))
		note = "prune"
	default:
		note = "nothing"
	}
	w.noted = append(w.noted, note)
}

func (w *planWorld) dockerfile() string {
	var out strings.Builder
	for n, stage := range w.stages {
		fmt.Fprintf(&out, "FROM scratch AS s%d\nARG A\nARG B\nCOPY g /base\n", n)
		if w.run {
			out.WriteString("COPY busybox /busybox\n")
		}
		fmt.Fprintln(&out, strings.Join(stage, "\n"))
	}
	return out.String()
}

func (w *planWorld) planAndBuild() (*engine.Planned, *engine.Response) {
	t := w.t
	w.write("Dockerfile", w.dockerfile())
	attrs := map[string]string{"target": fmt.Sprintf("s%d", len(w.stages)-1-w.r.IntN(2)*w.r.IntN(2))}
	for k, v := range w.args {
		attrs["build-arg:"+k] = v
	}
	switch w.r.IntN(12) {
	case 0:
		attrs["no-cache"] = fmt.Sprintf("s%d", w.r.IntN(len(w.stages)))
	case 1:
		attrs[engine.CountTimesAttr] = "COPY"
	}
	sess, err := local.New(t.Context(), local.Options{Dirs: map[string]string{"context": w.dir, "dockerfile": w.dir}})
	check.OK(t, err)
	req := engine.Request{Frontend: "dockerfile.v0", FrontendAttrs: attrs, Session: sess, Account: true}
	planned, err := w.e.Plan(t.Context(), req)
	if err != nil {
		t.Fatalf("seed %d: %v\n%s", w.seed, err, w.dockerfile())
	}
	built, err := w.e.Build(t.Context(), req)
	if err != nil {
		t.Fatalf("seed %d: %v\n%s", w.seed, err, w.dockerfile())
	}
	return planned, built
}

// compare checks what was planned by what was built.
func (w *planWorld) compare(planned *engine.Planned, built *engine.Response) map[plan.Verdict]int {
	ranOps := map[digest.Digest]bool{}
	for i := range built.Steps {
		if s := &built.Steps[i]; s.Ran() {
			for _, op := range s.Ops {
				ranOps[op] = true
			}
		}
	}
	said := map[plan.Verdict]int{}
	for i := range built.Steps {
		s := &built.Steps[i]
		d, ok := planned.Decided[s.Digest]
		if !ok {
			continue // what the frontend reads
		}
		said[d.Verdict]++
		if right(d.Verdict, s, ranOps) {
			continue
		}
		w.t.Errorf("seed %d, after %d edits (the last: %s): %s is said to be %s, and was %q\n%s", w.seed, len(w.noted), w.noted[len(w.noted)-1], s.Name, d.Verdict, s.Outcome, w.dockerfile())
	}
	if said[plan.Hit]+said[plan.Miss]+said[plan.Unknown] == 0 {
		w.t.Errorf("seed %d: nothing is said of what was built", w.seed)
	}
	return said
}

func right(v plan.Verdict, s *why.Step, ranOps map[digest.Digest]bool) bool {
	switch v {
	case plan.Hit:
		return !s.Ran() && s.Outcome != client.Shared
	case plan.Miss:
		// An equal step may have run before it in the same build.
		return s.Ran() || len(s.Ops) > 0 && ranOps[s.Ops[0]] && (s.Outcome == client.Shared || s.Outcome == client.Cached)
	case plan.NotNeeded:
		return s.Outcome == "" || s.Outcome == client.NotNeeded
	}
	return true
}
