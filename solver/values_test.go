package solver_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/solver"
)

// each collects the values of a key.
func each(fn func(context.Context, string, func(interface{}) error) error, key string) []string {
	var out []string
	fn(context.Background(), key, func(v interface{}) error {
		out = append(out, v.(string))
		return nil
	})
	return out
}

// contract 5: values are kept per job, in the order they were set.
func TestValues(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	j, other := w.job(s), w.job(s)
	j.SetValue("k", "1")
	j.SetValue("other", "x")
	j.SetValue("k", "2")
	other.SetValue("k", "3")
	if got := each(j.EachValue, "k"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("%q", got)
	}
	if got := each(j.EachValue, "unknown"); got != nil {
		t.Errorf("%q", got)
	}
	if err := j.EachValue(context.Background(), "k", func(interface{}) error { return errBroken }); !errors.Is(err, errBroken) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := j.EachValue(ctx, "k", func(interface{}) error { t.Error("visited"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// A callback may set values.
	if err := j.EachValue(context.Background(), "k", func(v interface{}) error { j.SetValue("k", v); return nil }); err != nil {
		t.Error(err)
	}
}

// contract 5: a builder visits the values of every job that holds its vertex, also
// those that joined while it runs, or by an equal key, and of none that has left.
func TestBuilderValues(t *testing.T) {
	for _, equal := range []bool{false, true} {
		name := "the same vertex"
		if equal {
			name = "an equal key"
		}
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				joined, left := newGate(), newGate()
				seen := make(chan []string, 3)
				node := func(id string) solver.Edge {
					n := w.node(id)
					n.Key = "n"
					var b solver.Builder
					n.OnResolve = func(builder solver.Builder) error { b = builder; return nil }
					n.OnExec = func(ctx context.Context, _ []solver.Result) error {
						look := func() {
							values := each(func(_ context.Context, k string, fn func(interface{}) error) error { return b.EachValue(ctx, k, fn) }, "k")
							slices.Sort(values)
							seen <- values
						}
						look()
						joined.pass(ctx)
						look()
						left.pass(ctx)
						look()
						return nil
					}
					return n.Edge(0)
				}
				one, two, three := w.job(s), w.job(s), w.job(s)
				one.SetValue("k", "one")
				two.SetValue("k", "two")
				three.SetValue("k", "three") // has nothing to do with it
				first := w.start(one, node("a"))
				<-joined.reached
				id := "a"
				if equal {
					id = "b"
				}
				second := w.start(two, node(id))
				bubbleWait()
				joined.open()
				<-left.reached
				one.Discard()
				<-first.done
				bubbleWait()
				left.open()
				second.wait("n()")
				for i, want := range []string{"one", "one two", "two"} {
					if got := strings.Join(<-seen, " "); got != want {
						t.Errorf("look %d: %q, not %q", i, got, want)
					}
				}
			})
		})
	}
}

// contract 5: a job's session is reachable from every call of an op; of a shared op
// it is one that is still alive.
func TestSessionID(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		g := newGate()
		inCacheMap := make(chan string, 1)
		inDigest := make(chan string, 1)
		inExec := make(chan string, 2)
		inSub := make(chan string, 1)
		outside := make(chan string, 1)
		n := w.node("n", w.node("in"))
		n.In[0].Content = true
		n.In[0].OnDigest = func(ctx context.Context) error { inDigest <- solver.SessionID(ctx); return nil }
		n.OnCacheMap = func(ctx context.Context, _ int) error { inCacheMap <- solver.SessionID(ctx); return nil }
		sub := w.node("sub")
		sub.OnExec = func(ctx context.Context, _ []solver.Result) error { inSub <- solver.SessionID(ctx); return nil }
		var b solver.Builder
		n.OnResolve = func(builder solver.Builder) error { b = builder; return nil }
		n.OnExec = func(ctx context.Context, _ []solver.Result) error {
			derived, cancel := context.WithCancel(ctx)
			defer cancel()
			inExec <- solver.SessionID(derived)
			outside <- solver.SessionID(b.Context(context.Background()))
			g.pass(ctx)
			inExec <- solver.SessionID(derived)
			r, err := b.Build(ctx, sub.Edge(0))
			if err == nil {
				r.Release(ctx)
			}
			return err
		}
		one, two := w.job(s), w.job(s)
		one.SessionID, two.SessionID = "session one", "session two"
		first := w.start(one, n.Edge(0))
		<-g.reached
		second := w.start(two, n.Edge(0))
		bubbleWait()
		one.Discard()
		<-first.done
		bubbleWait()
		g.open()
		second.wait("n(in())")
		for _, c := range []struct {
			where string
			ch    chan string
			want  string
		}{
			{"CacheMap", inCacheMap, "session one"}, {"digest", inDigest, "session one"}, {"Exec", inExec, "session one"}, {"outside", outside, "session one"},
			{"Exec once the first has left", inExec, "session two"}, {"sub-build", inSub, "session two"},
		} {
			if got := <-c.ch; got != c.want {
				t.Errorf("in %s: %q, not %q", c.where, got, c.want)
			}
		}
		if got := solver.SessionID(two.Context(context.Background())); got != "session two" {
			t.Errorf("of the job's context: %q", got)
		}
		if got := solver.SessionID(context.Background()); got != "" {
			t.Errorf("of no job's context: %q", got)
		}
	})
}

// contract 5: the sessions of all jobs that share an op are reachable, each once, as jobs
// join and leave.
func TestSessionIDs(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		look, seen := make(chan struct{}), make(chan []string)
		n := w.node("n")
		n.OnExec = func(ctx context.Context, _ []solver.Result) error {
			for range look {
				seen <- solver.SessionIDs(ctx)
			}
			return nil
		}
		one, two, none, again := w.job(s), w.job(s), w.job(s), w.job(s)
		one.SessionID, two.SessionID, again.SessionID = "one", "two", "one"
		first := w.start(one, n.Edge(0))
		sees := func(want ...string) {
			t.Helper()
			bubbleWait()
			look <- struct{}{}
			if got := <-seen; !slices.Equal(got, want) {
				t.Errorf("%q, not %q", got, want)
			}
		}
		sees("one")
		second, third, fourth := w.start(two, n.Edge(0)), w.start(none, n.Edge(0)), w.start(again, n.Edge(0))
		sees("one", "two")
		one.Discard()
		<-first.done
		sees("two", "one")
		again.Discard()
		<-fourth.done
		sees("two")
		close(look)
		second.wait("n()")
		third.wait("n()")
	})
}

// contract 5: work that callers have joined finds the sessions of all of them, also where
// one of them is such work.
func TestSessionIDsOfCallers(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	one, two, three := w.job(s), w.job(s), w.job(s)
	one.SessionID, two.SessionID, three.SessionID = "one", "two", "three"
	ctx := context.Background()
	inner := solver.WithCallers(ctx, func() []context.Context {
		return []context.Context{two.Context(ctx), three.Context(ctx)}
	})
	callers := []context.Context{one.Context(ctx), inner, two.Context(ctx)}
	outer, cancel := context.WithCancel(solver.WithCallers(ctx, func() []context.Context { return callers }))
	defer cancel()
	if got := solver.SessionIDs(outer); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("%q", got)
	}
	callers = callers[1:2]
	if got := solver.SessionIDs(outer); !slices.Equal(got, []string{"two", "three"}) {
		t.Errorf("once one has left: %q", got)
	}
	if got := solver.SessionIDs(ctx); got != nil {
		t.Errorf("of no job's context: %q", got)
	}
}
