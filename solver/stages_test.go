package solver_test

import (
	"fmt"
	"testing"

	"github.com/tenonbuild/tenon/solver/solvertest"
)

// contract 2, 8: a file assembled from several stages, one copy on top of the
// other, each known by the content of what it copies. The stages are independent of
// each other, and are solved at the same time: however deep below the top a copy is
// whose keys depend on a stage.
func TestStagesRunTogether(t *testing.T) {
	const n = 5
	bubble(t, func(w *world) {
		s, l := w.solver(), &load{}
		var below *solvertest.Node
		for i := range n {
			stage := w.node(fmt.Sprint("stage-", i), w.node(fmt.Sprint("base-", i)))
			stage.OnExec = l.work(1)
			in := []*solvertest.Node{stage}
			if below != nil {
				in = []*solvertest.Node{below, stage}
			}
			below = w.node(fmt.Sprint("copy-", i), in...)
			below.In[len(in)-1].Content = true
		}
		w.build(s, below.Edge(0))
		if l.most != n || l.finished() != n {
			t.Errorf("of %d stages %d were run, %d at the same time", n, l.finished(), l.most)
		}
	})
}

// contract 8: that a stage is solved early does not mean that its content key is
// computed: that waits until it can matter.
func TestStagesAheadAreNotDigested(t *testing.T) {
	bubble(t, func(w *world) {
		s, g := w.solver(), newGate()
		slow, quick := w.node("slow"), w.node("quick")
		slow.OnExec = g.exec
		first := w.node("first copy", slow)
		first.In[0].Content = true
		top := w.node("second copy", first, quick)
		top.In[1].Content = true
		var b *building
		w.costs("while one is slow", counts{maps: 4, execs: 2}, func() {
			b = w.start(w.job(s), top.Edge(0))
			<-g.reached
			bubbleWait()
		})
		w.executed(map[string]int{"quick": 1})
		g.open()
		b.wait("second copy(first copy(slow()),quick())")
	})
}
