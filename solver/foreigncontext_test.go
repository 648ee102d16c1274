package solver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// contexts are those that an op may pass to Build beside that of its call.
var contexts = map[string]func(b solver.Builder) context.Context{
	"of the builder": func(b solver.Builder) context.Context { return b.Context(context.Background()) },
	"background":     func(solver.Builder) context.Context { return context.Background() },
}

// contract 19, fault 6: a cycle through sub-builds is an error, also where their context is
// not that of the op's call.
func TestCycleThroughForeignContext(t *testing.T) {
	for name, foreign := range contexts {
		for _, shape := range []string{"itself", "its parent", "each other", "each other, at once"} {
			t.Run(name+"/"+shape, func(t *testing.T) {
				bubble(t, func(w *world) {
					s := w.solver(slots(1))
					builds := func(n, what *solvertest.Node) {
						n.Exec = func(_ context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
							return w.pass(b.Build(foreign(b), what.Edge(0)))
						}
					}
					a, b := w.node("a"), w.node("b")
					top := a
					switch shape {
					case "itself":
						builds(a, a)
					case "its parent":
						top = w.node("top", w.node("mid", a))
						builds(a, top)
					case "each other":
						builds(a, w.node("above b", b))
						builds(b, w.node("above a", a))
					default:
						builds(a, b)
						builds(b, a)
						top = w.node("top", a, b)
					}
					if err := w.fails(s, top.Edge(0)); !strings.Contains(err.Error(), "contains itself") {
						t.Error(err)
					}
					w.idle(s)
				})
			})
		}
	}
}

// contract 4, fault 6: with one slot, a sub-build gets it from the op that waits for it,
// whatever its context and whichever call of the op builds.
func TestSlotOfForeignContext(t *testing.T) {
	for name, foreign := range contexts {
		for _, where := range []string{"Exec", "CacheMap", "digest", "goroutine"} {
			t.Run(name+"/"+where, func(t *testing.T) {
				bubble(t, func(w *world) {
					s := w.solver(slots(1))
					n := w.node("n", w.node("in"))
					var b solver.Builder
					n.OnResolve = func(builder solver.Builder) error { b = builder; return nil }
					build := func(context.Context) error {
						for i := range 2 {
							inner := w.building(fmt.Sprint("inner", i), w.node("innermost", w.node("leaf")))
							r, err := b.Build(foreign(b), inner.Edge(0))
							if err != nil {
								return err
							}
							r.Release(context.Background())
						}
						return nil
					}
					switch where {
					case "Exec":
						n.OnExec = func(ctx context.Context, _ []solver.Result) error { return build(ctx) }
					case "CacheMap":
						n.OnCacheMap = func(ctx context.Context, _ int) error { return build(ctx) }
					case "digest":
						n.In[0].Content, n.In[0].OnDigest = true, build
					case "goroutine":
						n.OnExec = func(ctx context.Context, _ []solver.Result) error {
							done := make(chan error)
							go func() { done <- build(ctx) }()
							return <-done
						}
					}
					if got := w.build(s, w.node("top", n, w.node("side")).Edge(0)); got != "top(n(in()),side())" {
						t.Error(got)
					}
					w.idle(s)
				})
			})
		}
	}
}

// contract 18, fault 6: when the op's build is cancelled, so is a sub-build whose own
// context never ends.
func TestForeignContextIsLeft(t *testing.T) {
	for name, foreign := range contexts {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver(slots(1))
				g := newGate()
				inner := w.node("inner")
				inner.OnExec = g.exec
				n := w.node("n")
				n.Exec = func(_ context.Context, b solver.Builder, _ []solver.Result) ([]solver.Result, error) {
					return w.pass(b.Build(foreign(b), inner.Edge(0)))
				}
				b := w.start(w.job(s), n.Edge(0))
				<-g.reached
				b.canceled()
				b.job.Discard()
				w.idle(s)
			})
		})
	}
}
