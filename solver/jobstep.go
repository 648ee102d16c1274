package solver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/client"
)

// Begin shows work of the job that is no vertex of its graph, such as writing what
// was built: it appears in the status stream as a vertex of this name, running
// until end is called, and as failed if end is given an error. What is reported
// with the context returned (ProgressFrom) belongs to it, and SessionID finds the
// job's session there. End is to be called before Discard; only its first call
// counts.
func (j *Job) Begin(ctx context.Context, name string) (_ context.Context, end func(error)) {
	serial := j.steps.Add(1)
	st := &jobStep{job: j, digest: digest.FromString(fmt.Sprintf("step %d of job %d %q: %s", serial, j.serial, j.id, name))}
	started := time.Now()
	st.show(client.Vertex{Name: name, Started: &started})
	var once sync.Once
	return context.WithValue(j.Context(ctx), jobStepKey{}, st), func(err error) {
		once.Do(func() {
			completed := time.Now()
			v := client.Vertex{Name: name, Started: &started, Completed: &completed, Outcome: client.Executed}
			if err != nil {
				v.Outcome, v.Error = client.Failed, err.Error()
				if ctx.Err() != nil {
					v.Outcome = client.Canceled
				}
			}
			st.show(v)
		})
	}
}

// jobStep is work that Begin has shown.
type jobStep struct {
	job    *Job
	digest digest.Digest
}

type jobStepKey struct{}

func (st *jobStep) show(v client.Vertex) {
	v.Digest = st.digest
	(&Progress{s: st.job.s, j: st.job}).add(entry{step: &v})
}
