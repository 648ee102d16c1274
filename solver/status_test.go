package solver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// ended checks how vertices ended in a stream that is over: in exactly one way.
func (st *watching) ended(t *testing.T, want map[string]client.Outcome) {
	t.Helper()
	<-st.done
	if len(st.byName) != len(want) {
		t.Errorf("%d vertices were shown, not %d", len(st.byName), len(want))
	}
	for name, outcome := range want {
		v, ok := st.byName[name]
		if !ok {
			t.Errorf("%s was not shown", name)
			continue
		}
		if v.Outcome != outcome {
			t.Errorf("%s ended as %q, not %q", name, v.Outcome, outcome)
		}
		// A reader that knows only times and errors is told the same.
		begun := outcome != client.NotNeeded && outcome != client.Canceled
		if begun && (v.Started == nil || v.Completed == nil || v.Completed.Before(*v.Started)) || v.Started == nil && v.Completed != nil {
			t.Errorf("%s: from %v to %v", name, v.Started, v.Completed)
		}
		if v.Cached != (outcome == client.Cached) {
			t.Errorf("%s: cached is %v", name, v.Cached)
		}
		if (v.Error != "") != (outcome == client.Failed || outcome == client.Canceled) {
			t.Errorf("%s: error %q", name, v.Error)
		}
		if outcome == client.NotNeeded && v.Started != nil {
			t.Errorf("%s was not needed, and was started", name)
		}
		ends := map[client.Outcome]bool{}
		for _, shown := range st.vertices[v.Digest] {
			if shown.Outcome != "" {
				ends[shown.Outcome] = true
			}
		}
		if len(ends) != 1 {
			t.Errorf("%s ended in several ways: %v", name, ends)
		}
	}
}

// contract 27: each vertex of a job is shown with name, digest and inputs, and ends
// in exactly one way.
func TestOutcomes(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		graph := func() *solvertest.Node {
			return w.node("top", w.node("mid", w.node("leaf")), w.node("side"))
		}
		run := func(want map[string]client.Outcome, build func(j *solver.Job)) *watching {
			t.Helper()
			j := w.job(s)
			st := w.watch(j)
			build(j)
			j.Discard()
			st.ended(t, want)
			return st
		}
		top := func(j *solver.Job) { w.buildIn(j, graph().Edge(0)) }
		st := run(map[string]client.Outcome{"top": client.Executed, "mid": client.Executed, "leaf": client.Executed, "side": client.Executed}, top)
		v, n := st.byName["top"], graph()
		if v.Digest != n.Digest() || !slices.Equal(v.Inputs, []digest.Digest{n.In[0].Node.Digest(), n.In[1].Node.Digest()}) {
			t.Errorf("top is shown as %+v", v)
		}
		run(map[string]client.Outcome{"top": client.Cached, "mid": client.NotNeeded, "leaf": client.NotNeeded, "side": client.NotNeeded}, top)
		w.pruneAll("mid(leaf())")
		run(map[string]client.Outcome{"top": client.Executed, "mid": client.Cached, "leaf": client.NotNeeded, "side": client.Executed}, top)
		// What another job has run, and what it has loaded.
		w.pruneAll()
		other := w.job(s)
		w.buildIn(other, graph().In[0].Node.Edge(0))
		w.pruneAll("mid(leaf())")
		run(map[string]client.Outcome{"top": client.Executed, "mid": client.Shared, "leaf": client.Shared, "side": client.Executed}, top)
		other.Discard()
		other = w.job(s)
		w.pruneAll("mid(leaf())")
		w.buildIn(other, graph().In[0].Node.Edge(0))
		run(map[string]client.Outcome{"top": client.Executed, "mid": client.Cached, "leaf": client.NotNeeded, "side": client.Executed}, top)
		// An equal edge of another job.
		w.buildIn(other, w.equal("root", "a").Edge(0))
		run(map[string]client.Outcome{"root-b": client.Shared}, func(j *solver.Job) { w.buildIn(j, w.equal("root", "b").Edge(0)) })
		other.Discard()
		// One that fails. What needed it ends with it.
		bad := func() *solvertest.Node {
			n := w.node("bad", w.node("fine"))
			n.OnExec = func(context.Context, []solver.Result) error { return errBroken }
			return n
		}
		st = run(map[string]client.Outcome{"above": client.Canceled, "bad": client.Failed, "fine": client.Executed}, func(j *solver.Job) {
			if _, err := j.Build(context.Background(), w.node("above", bad()).Edge(0)); err == nil {
				t.Error("no error")
			}
		})
		if !strings.Contains(st.byName["bad"].Error, errBroken.Error()) {
			t.Errorf("error %q", st.byName["bad"].Error)
		}
	})
}

// contract 27: a build that is cancelled, and one whose job is discarded.
func TestOutcomesOfCancelled(t *testing.T) {
	for _, discard := range []bool{false, true} {
		bubble(t, func(w *world) {
			s := w.solver()
			g := newGate()
			slow := w.node("slow", w.node("done"))
			slow.OnExec = g.exec
			j := w.job(s)
			st := w.watch(j)
			b := w.start(j, w.node("top", slow).Edge(0))
			<-g.reached
			if !discard {
				b.canceled()
			}
			j.Discard()
			<-b.done
			st.ended(t, map[string]client.Outcome{"top": client.Canceled, "slow": client.Canceled, "done": client.Executed})
		})
	}
}

// contract 27: of two jobs that wait for one op, it ran for one, and the other
// shared it; both see it.
func TestOutcomesOfTwoJobs(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		var all []*watching
		var building []*building
		for range 2 {
			n := w.node("n", w.node("in"))
			n.OnExec = g.exec
			j := w.job(s)
			all = append(all, w.watch(j))
			building = append(building, w.start(j, n.Edge(0)))
		}
		bubbleWait()
		g.open()
		outcomes := map[client.Outcome]int{}
		for i, b := range building {
			b.wait("n(in())")
			b.job.Discard()
			<-all[i].done
			outcomes[all[i].byName["n"].Outcome]++
		}
		if outcomes[client.Executed] != 1 || outcomes[client.Shared] != 1 {
			t.Errorf("%v", outcomes)
		}
	})
}

// contract 27: a subscriber may join late and gets everything so far; several may
// listen, and leave.
func TestSubscribers(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		j := w.job(s)
		early := w.watch(j)
		n := w.node("n", w.node("in"))
		n.OnExec = func(ctx context.Context, _ []solver.Result) error {
			p := solver.ProgressFrom(ctx)
			p.Log(1, []byte("a line"))
			p.Status(client.VertexStatus{ID: "part", Current: 1, Total: 2})
			p.Warn(client.VertexWarning{Short: []byte("careful")})
			return nil
		}
		w.buildIn(j, n.Edge(0))
		late := w.watch(j)
		ctx, cancel := context.WithCancel(context.Background())
		ch := make(chan *client.SolveStatus)
		left := make(chan error, 1)
		go func() { left <- j.Status(ctx, ch) }()
		<-ch // it reads once, and leaves
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		for range ch { // it is closed
		}
		w.buildIn(j, w.node("more", n).Edge(0))
		j.Discard()
		for name, st := range map[string]*watching{"early": early, "late": late} {
			st.ended(t, map[string]client.Outcome{"n": client.Executed, "in": client.Executed, "more": client.Executed})
			if len(st.logs) != 1 || len(st.statuses) != 1 || len(st.warnings) != 1 {
				t.Errorf("%s: %d logs, %d statuses, %d warnings", name, len(st.logs), len(st.statuses), len(st.warnings))
			}
			if st.err != nil {
				t.Error(st.err)
			}
		}
	})
}

// contract 27: a subscriber that does not read delays nobody, and gets all of it
// once it does.
func TestStalledSubscriber(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		j := w.job(s)
		ch := make(chan *client.SolveStatus)
		ended := make(chan error, 1)
		go func() { ended <- j.Status(context.Background(), ch) }()
		synctest.Wait()
		const n = 3000
		top := w.node("top")
		for i := range n {
			in := w.node(fmt.Sprint("in", i))
			in.OnExec = func(ctx context.Context, _ []solver.Result) error {
				solver.ProgressFrom(ctx).Log(1, []byte("line"))
				return nil
			}
			top.In = append(top.In, solvertest.Input{Node: in})
		}
		w.buildIn(j, top.Edge(0))
		j.Discard()
		done, logs := map[string]bool{}, 0
		for m := range ch {
			for _, v := range m.Vertexes {
				done[v.Name] = done[v.Name] || v.Outcome == client.Executed
			}
			logs += len(m.Logs)
		}
		for name, is := range done {
			if !is {
				t.Errorf("the end of %s was not shown", name)
			}
		}
		if len(done) != n+1 || logs != n {
			t.Errorf("%d vertices and %d lines were shown", len(done), logs)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// contract 27: one that joins while a large job ends misses nothing of what is shown.
func TestSubscriberOfLargeJob(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	for round := range 3 {
		j := w.job(s)
		top := w.node(fmt.Sprint("top", round))
		for i := range 3000 {
			top.In = append(top.In, solvertest.Input{Node: w.node(fmt.Sprint("in", round, "-", i))})
		}
		w.buildIn(j, top.Edge(0))
		ch := make(chan *client.SolveStatus)
		go j.Status(context.Background(), ch)
		first := <-ch // it has joined
		discarded := make(chan error, 1)
		go func() { discarded <- j.Discard() }()
		seen := map[string]client.Outcome{}
		for m := first; m != nil; m = <-ch {
			for _, v := range m.Vertexes {
				seen[v.Name] = v.Outcome
			}
		}
		<-discarded
		if len(seen) != 3001 {
			t.Errorf("%d of 3001 vertices were shown", len(seen))
		}
		for name, outcome := range seen {
			if outcome != client.Executed {
				t.Errorf("%s is %q", name, outcome)
			}
		}
	}
}

// contract 28: ops report nested statuses, log lines and warnings through their
// context, a builder's context, and the job through its own.
func TestProgress(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		var b solver.Builder
		n := w.node("n")
		n.OnResolve = func(builder solver.Builder) error { b = builder; return nil }
		n.OnCacheMap = func(ctx context.Context, _ int) error {
			solver.ProgressFrom(ctx).Log(2, []byte("cache map"))
			return nil
		}
		n.OnExec = func(ctx context.Context, _ []solver.Result) error {
			p := solver.ProgressFrom(context.WithoutCancel(ctx))
			buf := []byte("exec")
			p.Log(1, buf)
			copy(buf, "xxxx")
			for i := range 3 {
				p.Status(client.VertexStatus{ID: "download", Name: "layer", Current: int64(i), Total: 2})
			}
			p.Warn(client.VertexWarning{Level: 2, Short: []byte("short"), Detail: [][]byte{[]byte("long")}, URL: "https://example.org"})
			solver.ProgressFrom(b.Context(context.Background())).Log(1, []byte("builder"))
			return nil
		}
		one, two := w.job(s), w.job(s)
		st, also := w.watch(one), w.watch(two)
		solver.ProgressFrom(one.Context(context.Background())).Log(1, []byte("job"))
		solver.ProgressFrom(context.Background()).Log(1, []byte("nobody"))
		g := w.start(two, n.Edge(0))
		w.buildIn(one, n.Edge(0))
		g.wait("n()")
		one.Discard()
		two.Discard()
		<-st.done
		<-also.done
		var lines []string
		for _, l := range st.logs {
			lines = append(lines, fmt.Sprint(string(l.Data), " ", l.Stream, " ", l.Vertex == n.Digest()))
			if l.Timestamp.IsZero() {
				t.Errorf("%s has no time", l.Data)
			}
		}
		if want := []string{"job 1 false", "cache map 2 true", "exec 1 true", "builder 1 true"}; !slices.Equal(lines, want) {
			t.Errorf("logs: %q", lines)
		}
		if len(also.logs) != 3 {
			t.Errorf("the other job got %d lines", len(also.logs))
		}
		if len(st.statuses) != 3 || st.statuses[2].Current != 2 || st.statuses[2].Vertex != n.Digest() || st.statuses[2].Timestamp.IsZero() {
			t.Errorf("statuses: %+v", st.statuses)
		}
		if len(st.warnings) != 1 || st.warnings[0].Vertex != n.Digest() || st.warnings[0].URL == "" {
			t.Errorf("warnings: %+v", st.warnings)
		}
	})
}

// contract 27: times are those of the work.
func TestTimes(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		n := w.node("n", w.node("in"))
		n.OnExec = func(context.Context, []solver.Result) error { time.Sleep(5 * time.Second); return nil }
		j := w.job(s)
		st := w.watch(j)
		w.buildIn(j, n.Edge(0))
		j.Discard()
		<-st.done
		v := st.byName["n"]
		if took := v.Completed.Sub(*v.Started); took != 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if shown := st.vertices[n.Digest()]; shown[0].Started != nil || shown[0].Completed != nil {
			t.Errorf("it began before it was started: %+v", shown[0])
		}
	})
}

// What an op reports while it runs is shown under each vertex that shares the run: also
// where the vertices are not the same, but are found to be equal by their keys, whoever
// comes later included, and although the one whose op it is has left. What a vertex
// reports beside that is its own.
func TestReportsOfSharedRun(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		begun := make(chan *solver.Progress, 1)
		equal := func(variant string) *solvertest.Node {
			n := w.node(variant, w.node("in"))
			n.Key = "n"
			n.OnCacheMap = func(ctx context.Context, _ int) error {
				solver.ProgressFrom(ctx).Log(2, []byte("map of "+variant))
				return nil
			}
			n.OnExec = func(ctx context.Context, in []solver.Result) error {
				p := solver.ProgressFrom(ctx)
				p.Log(1, []byte("begun"))
				p.Status(client.VertexStatus{ID: "part"})
				begun <- p
				return g.exec(ctx, in)
			}
			return n
		}
		var all []*watching
		var jobs []*solver.Job
		var building []*building
		var nodes []*solvertest.Node
		add := func(variant string) {
			n := equal(variant)
			j := w.job(s)
			nodes, jobs, all = append(nodes, n), append(jobs, j), append(all, w.watch(j))
			building = append(building, w.start(j, n.Edge(0)))
			bubbleWait()
		}
		add("first")
		p := <-begun
		add("second")
		p.Warn(client.VertexWarning{Short: []byte("careful")})
		building[0].cancel()
		jobs[0].Discard()
		bubbleWait()
		add("third")
		p.Log(1, []byte("ended"))
		g.open()
		building[1].wait("n(in())")
		for i := 1; i < len(nodes); i++ {
			building[i].wait("n(in())")
		}
		for i := range nodes[1:] {
			jobs[i+1].Discard()
		}
		for i, n := range nodes {
			<-all[i].done
			var lines []string
			for _, l := range all[i].logs {
				lines = append(lines, string(l.Data))
				if l.Vertex != n.Digest() {
					t.Errorf("%s: a line of another vertex: %s", n.ID, l.Data)
				}
			}
			want := []string{"map of " + n.ID, "begun", "ended"}
			if i == 0 {
				want = want[:2]
			}
			if !slices.Equal(lines, want) {
				t.Errorf("%s: %q, not %q", n.ID, lines, want)
			}
			if len(all[i].statuses) != 1 || all[i].statuses[0].Vertex != n.Digest() || len(all[i].warnings) != 1 || all[i].warnings[0].Vertex != n.Digest() {
				t.Errorf("%s: %d statuses, %d warnings", n.ID, len(all[i].statuses), len(all[i].warnings))
			}
		}
	})
}
