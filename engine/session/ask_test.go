package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/solver"
)

// builds are builds that share some work, in a bubble whose time passes while all wait.
type builds struct {
	*testing.T
	all    session.Sessions
	solver *solver.Solver

	mu    sync.Mutex // guards share
	share []context.Context
}

func inBuilds(t *testing.T, fn func(*builds)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &builds{T: t, solver: solver.NewSolver(solver.SolverOpt{})}
		fn(b)
		b.solver.Close()
	})
}

// lend adds a session. It is gone once it is removed.
func (b *builds) lend(id string) (remove func()) {
	b.Helper()
	remove, err := b.all.Add(session.Empty(id))
	check.OK(b, err)
	return remove
}

// join begins a build of a session that shares the work.
func (b *builds) join(id string) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	job, err := b.solver.NewJob(fmt.Sprint("job", len(b.share)))
	check.OK(b, err)
	job.SessionID = session.OfBuild(id, fmt.Sprint("build", len(b.share)))
	b.share = append(b.share, job.Context(b.Context()))
}

// lent adds sessions that have a build each.
func (b *builds) lent(ids ...string) {
	b.Helper()
	for _, id := range ids {
		b.lend(id)
		b.join(id)
	}
}

// leave ends the build that joined first.
func (b *builds) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.share = b.share[1:]
}

// ctx is that of the work.
func (b *builds) ctx() context.Context {
	return solver.WithCallers(b.Context(), func() []context.Context {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.share
	})
}

// stall is a client that has stopped.
func stall(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", context.Cause(ctx)
}

// asked is what a client does when it is asked.
type asked func(ctx context.Context) (string, error)

func says(value string) asked { return func(context.Context) (string, error) { return value, nil } }

func fails(err error) asked { return func(context.Context) (string, error) { return "", err } }

func after(d time.Duration, then asked) asked {
	return func(ctx context.Context) (string, error) {
		select {
		case <-time.After(d):
			return then(ctx)
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// ask asks clients, and says what came of it, and when.
func (b *builds) ask(clients map[string]asked) (string, time.Duration, error) {
	begin := time.Now()
	v, err := session.Ask(b.ctx(), &b.all, func(ctx context.Context, s session.Session) (string, error) {
		return clients[s.ID()](ctx)
	})
	return v, time.Since(begin).Round(time.Second), err
}

var errBroken = errors.New("broken")

var errLacks = fmt.Errorf("it: %w", session.ErrNotFound)

// Who is asked when, and whose answer is the one.
func TestAsk(t *testing.T) {
	for name, c := range map[string]struct {
		clients map[string]asked // asked in the order of their names
		value   string
		err     error
		after   time.Duration
	}{
		"one":                             {map[string]asked{"a": says("a")}, "a", nil, 0},
		"one that is slow":                {map[string]asked{"a": after(time.Hour, says("a"))}, "a", nil, time.Hour},
		"one that fails":                  {map[string]asked{"a": fails(errBroken)}, "", errBroken, 0},
		"none":                            {nil, "", session.ErrNotFound, 0},
		"the first of two":                {map[string]asked{"a": says("a"), "b": nil}, "a", nil, 0},
		"the first stalls":                {map[string]asked{"a": stall, "b": says("b")}, "b", nil, 3 * time.Second},
		"two stall":                       {map[string]asked{"a": stall, "b": stall, "c": says("c")}, "c", nil, 6 * time.Second},
		"the first is a bit slow":         {map[string]asked{"a": after(2*time.Second, says("a")), "b": nil}, "a", nil, 2 * time.Second},
		"the first is slow, and best":     {map[string]asked{"a": after(4*time.Second, says("a")), "b": stall}, "a", nil, 4 * time.Second},
		"the first lacks it":              {map[string]asked{"a": fails(errLacks), "b": says("b")}, "b", nil, 0},
		"the first is broken":             {map[string]asked{"a": fails(errBroken), "b": says("b")}, "b", nil, 0},
		"all lack it":                     {map[string]asked{"a": fails(errLacks), "b": fails(errLacks)}, "", errLacks, 0},
		"the error of the first":          {map[string]asked{"a": fails(errBroken), "b": fails(errLacks)}, "", errBroken, 0},
		"one stalls, the other lacks it":  {map[string]asked{"a": stall, "b": fails(errLacks)}, "", errLacks, 33 * time.Second},
		"one lacks it, the other stalls":  {map[string]asked{"a": fails(errLacks), "b": stall}, "", errLacks, 30 * time.Second},
		"one lacks it, the other is slow": {map[string]asked{"a": fails(errLacks), "b": after(20*time.Second, says("b"))}, "b", nil, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBuilds(t, func(b *builds) {
				for _, id := range []string{"a", "b", "c"} {
					if _, ok := c.clients[id]; ok {
						b.lent(id)
					}
				}
				v, after, err := b.ask(c.clients)
				if v != c.value || !errors.Is(err, c.err) || after != c.after {
					t.Errorf("%q, %v, after %v", v, err, after)
				}
			})
		})
	}
}

// Builds of one session are asked once, and those that join while others are silent are
// asked, too.
func TestAskWhoJoins(t *testing.T) {
	inBuilds(t, func(b *builds) {
		b.lent("a")
		b.join("a")
		time.AfterFunc(time.Minute+time.Second, func() { b.lent("b") })
		var times atomic.Int32
		v, after, err := b.ask(map[string]asked{
			"a": func(ctx context.Context) (string, error) { times.Add(1); return stall(ctx) },
			"b": says("b"),
		})
		if v != "b" || err != nil || after != time.Minute+3*time.Second || times.Load() != 1 {
			t.Errorf("%q, %v, after %v; %d", v, err, after, times.Load())
		}
	})
}

// A session that was silent holds up nobody again, until it has answered.
func TestAskAgain(t *testing.T) {
	inBuilds(t, func(b *builds) {
		b.lent("a", "b")
		stalls := map[string]asked{"a": stall, "b": says("b")}
		for i, want := range []time.Duration{3 * time.Second, 0, 0} {
			if v, after, err := b.ask(stalls); v != "b" || err != nil || after != want {
				t.Errorf("%d: %q, %v, after %v", i, v, err, after)
			}
		}
		lacks := map[string]asked{"a": stall, "b": fails(errLacks)}
		for i, want := range []time.Duration{30 * time.Second, 3 * time.Second, 3 * time.Second} {
			if v, after, err := b.ask(lacks); !errors.Is(err, errLacks) || after != want {
				t.Errorf("lacks %d: %q, %v, after %v", i, v, err, after)
			}
		}
		if v, after, err := b.ask(map[string]asked{"a": says("a"), "b": stall}); v != "a" || err != nil || after != 0 {
			t.Errorf("it answers: %q, %v, after %v", v, err, after)
		}
		b.lent("c")
		if v, after, err := b.ask(map[string]asked{"a": after(time.Second, says("a")), "b": nil, "c": nil}); v != "a" || err != nil || after != time.Second {
			t.Errorf("it was heard: %q, %v, after %v", v, err, after)
		}
	})
}

// A session that goes away while it is asked has not answered.
func TestAskWhoIsGone(t *testing.T) {
	inBuilds(t, func(b *builds) {
		b.lent("b")
		remove := b.lend("a")
		b.join("a")
		b.join("b")
		b.leave()
		gone := func(context.Context) (string, error) { remove(); return "", errBroken }
		if v, after, err := b.ask(map[string]asked{"a": gone, "b": says("b")}); v != "b" || err != nil || after != 0 {
			t.Errorf("%q, %v, after %v", v, err, after)
		}
		remove = b.lend("a")
		if v, _, err := b.ask(map[string]asked{"a": gone, "b": fails(errLacks)}); !errors.Is(err, errLacks) || errors.Is(err, errBroken) {
			t.Errorf("the other lacks it: %q, %v", v, err)
		}
		remove = b.lend("a")
		b.share = b.share[:1]
		if v, _, err := b.ask(map[string]asked{"a": gone}); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("alone: %q, %v", v, err)
		}
	})
}

// A client whose builds have left is asked no more, and is not waited for.
func TestAskWhoLeaves(t *testing.T) {
	inBuilds(t, func(b *builds) {
		b.lent("a", "b")
		time.AfterFunc(time.Minute, b.leave)
		deaf := func(context.Context) (string, error) { time.Sleep(2 * time.Hour); return "a", nil }
		v, after, err := b.ask(map[string]asked{"a": deaf, "b": after(time.Hour, fails(errLacks))})
		if !errors.Is(err, errLacks) || after != time.Hour+3*time.Second {
			t.Errorf("%q, %v, after %v", v, err, after)
		}
		time.Sleep(3 * time.Hour)
	})
}

// The others are cancelled, those that do not heed it are not waited for, and what they
// return is closed. The value that is returned lasts.
func TestAskCancelsAndCloses(t *testing.T) {
	inBuilds(t, func(b *builds) {
		b.lent("a", "b", "c")
		var cancelled atomic.Bool
		late := &closed{}
		c, err := session.Ask(b.ctx(), &b.all, func(ctx context.Context, s session.Session) (io.Closer, error) {
			switch s.ID() {
			case "a":
				<-ctx.Done()
				cancelled.Store(true)
				return nil, ctx.Err()
			case "b":
				time.Sleep(time.Hour)
				return late, nil
			}
			return &closed{ctx: ctx}, nil
		})
		check.OK(t, err)
		synctest.Wait()
		if of := c.(*closed); of.times.Load() != 0 || of.ctx.Err() != nil {
			t.Errorf("the answer: closed %d times, %v", of.times.Load(), of.ctx.Err())
		}
		if !cancelled.Load() {
			t.Error("who is silent was not cancelled")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		check.Equal(t, "closed", late.times.Load(), 1)
	})
}

type closed struct {
	ctx   context.Context
	times atomic.Int32
}

func (c *closed) Close() error {
	c.times.Add(1)
	return nil
}

// Who waits for an answer leaves when its context ends, also where the client does not heed
// that.
func TestAskEnds(t *testing.T) {
	inBuilds(t, func(b *builds) {
		b.lent("a")
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(b.ctx())
		time.AfterFunc(time.Minute, func() { cancel(why) })
		_, err := session.Ask(ctx, &b.all, func(context.Context, session.Session) (string, error) {
			time.Sleep(time.Hour)
			return "a", nil
		})
		if !errors.Is(err, why) {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour)
	})
}

// What fails in a session fails that question, and not the program.
func TestAskPanics(t *testing.T) {
	inBuilds(t, func(b *builds) {
		b.lent("a", "b")
		panics := func(context.Context) (string, error) { panic("it is broken") }
		exits := func(context.Context) (string, error) { runtime.Goexit(); return "", nil }
		if v, _, err := b.ask(map[string]asked{"a": panics, "b": says("b")}); v != "b" || err != nil {
			t.Errorf("%q, %v", v, err)
		}
		_, _, err := b.ask(map[string]asked{"a": panics, "b": exits})
		check.Says(t, err, "it is broken")
	})
}

// A session that is named is asked first, and the others are asked where it does not answer.
func TestAskFrom(t *testing.T) {
	inBuilds(t, func(b *builds) {
		b.lent("a")
		remove := b.lend("named")
		order := make(chan string, 9)
		ask := func() {
			v, err := session.AskFrom(b.ctx(), &b.all, "named", func(ctx context.Context, s session.Session) (string, error) {
				order <- s.ID()
				if s.ID() == "named" {
					return stall(ctx)
				}
				return s.ID(), nil
			})
			check.OK(t, err)
			check.Equal(t, "of", v, "a")
		}
		ask()
		remove()
		ask()
		synctest.Wait()
		close(order)
		var asked []string
		for id := range order {
			asked = append(asked, id)
		}
		check.Equal(t, "asked", strings.Join(asked, " "), "named a a")
	})
}
