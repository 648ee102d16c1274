package local

import (
	"context"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// every is how often progress is reported at most.
const every = 100 * time.Millisecond

// progress reports how many bytes were read.
type progress struct {
	to *solver.Progress

	mu   sync.Mutex // guards what follows
	st   client.VertexStatus
	last time.Time
}

func (i *instance) progress(ctx context.Context) *progress {
	now := time.Now()
	id := "transferring " + i.want.name + ":"
	p := &progress{to: solver.ProgressFrom(ctx), st: client.VertexStatus{ID: id, Name: "transferring", Started: &now}, last: now}
	p.to.Status(p.st)
	return p
}

func (p *progress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.st.Current += n
	if now := time.Now(); now.Sub(p.last) >= every {
		p.last = now
		p.to.Status(p.st)
	}
}

// set says how many bytes there were in all.
func (p *progress) set(n int64) {
	p.mu.Lock()
	more := n - p.st.Current
	p.mu.Unlock()
	p.add(more)
}

func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.st.Completed = &now
	p.to.Status(p.st)
}

// counted counts what is read.
type counted struct {
	r interface{ Read([]byte) (int, error) }
	p *progress
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.p.add(int64(n))
	return n, err
}
