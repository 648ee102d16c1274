package solver_test

import (
	"testing"

	"github.com/tenonbuild/tenon/solver/solvertest"
)

// contract 13: an edge that has become known by another name since it looked for an equal
// run finds it by that. Its first input is found to be equal to that of the run by content,
// when the second one has long ruled out that a cache has the edge.
func TestEqualByNameKnownLater(t *testing.T) {
	bubble(t, func(w *world) {
		s := w.solver()
		running, solving := newGate(), newGate()
		in := func(id string) *solvertest.Node {
			n := w.node(id)
			n.Value = "same"
			return n
		}
		n := func(id string, in *solvertest.Node) *solvertest.Node {
			y := w.equal("y", id, in)
			y.In[0].Content = true
			return w.equal("n", id, y, w.node("u"))
		}
		first := n("first", in("p"))
		first.OnExec = running.exec
		runs := w.start(w.job(s), first.Edge(0))
		<-running.reached

		// What is to run for the second one has begun before that looks for an equal run.
		q := in("q")
		q.OnExec = solving.exec
		below := w.start(w.job(s), q.Edge(0))
		<-solving.reached
		waits := w.start(w.job(s), n("second", q).Edge(0))
		bubbleWait() // it has found nothing equal, and waits for its first input
		solving.open()
		bubbleWait() // its first input was loaded, by the key of the other's
		running.open()
		runs.wait("n(y(same),u())")
		waits.wait("n(y(same),u())")
		below.wait("same")
		w.executed(map[string]int{"y-first": 1, "y-second": 0, "n-first": 1, "n-second": 0})
		for _, b := range []*building{runs, waits, below} {
			b.job.Discard()
		}
		w.idle(s)
	})
}
