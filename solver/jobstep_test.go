package solver_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// contract 27, 28: work that is no vertex shows in the stream as one, with what is
// reported in it, also to a subscriber that joins late.
func TestJobSteps(t *testing.T) {
	bubble(t, func(w *world) {
		j := w.job(w.solver())
		j.SessionID = "session"
		early := w.watch(j)
		ctx, end := j.Begin(context.Background(), "exporting")
		if id := solver.SessionID(ctx); id != "session" {
			t.Errorf("session %q", id)
		}
		solver.ProgressFrom(ctx).Log(1, []byte("line"))
		solver.ProgressFrom(ctx).Status(client.VertexStatus{ID: "part"})
		end(nil)
		end(errors.New("only the first call counts"))
		_, fails := j.Begin(context.Background(), "exporting") // another of the same name
		fails(errBroken)
		canceled, cancel := context.WithCancel(context.Background())
		_, leaves := j.Begin(canceled, "left")
		cancel()
		leaves(canceled.Err())
		late := w.watch(j)
		j.Discard()
		for _, st := range []*watching{early, late} {
			<-st.done
			if len(st.vertices) != 3 || len(st.logs) != 1 || len(st.statuses) != 1 {
				t.Fatalf("%d steps, %d logs, %d statuses", len(st.vertices), len(st.logs), len(st.statuses))
			}
			outcomes := map[client.Outcome]bool{}
			for dgst, shown := range st.vertices {
				first, last := shown[0], shown[len(shown)-1]
				if len(shown) != 2 || first.Started == nil || first.Completed != nil || last.Completed == nil {
					t.Errorf("%s: %+v, then %+v", last.Name, first, last)
				}
				if last.Outcome == client.Executed && (st.logs[0].Vertex != dgst || st.statuses[0].Vertex != dgst) {
					t.Error("a report is not about its step")
				}
				outcomes[last.Outcome] = true
			}
			if !outcomes[client.Executed] || !outcomes[client.Failed] || !outcomes[client.Canceled] {
				t.Errorf("outcomes: %v", outcomes)
			}
		}
	})
}
