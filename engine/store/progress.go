package store

import (
	"context"
	"io"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// progressEvery is how often a transfer says how far it is.
const progressEvery = 100 * time.Millisecond

// progress reports one part of the work to the vertex that it is done for.
type progress struct {
	to   *solver.Progress
	st   client.VertexStatus
	last time.Time
}

// startProgress reports the beginning of what it takes to have a record: to the step
// that it comes from, or else to who wants it. Total is 0 where it is not known.
func (s *Store) startProgress(ctx context.Context, rec *record, name string, total int64) *progress {
	now := time.Now()
	s.index.mu.Lock()
	to := rec.teller
	s.index.mu.Unlock()
	if to == nil {
		to = solver.ProgressFrom(ctx)
	}
	p := &progress{to: to, last: now}
	p.st = client.VertexStatus{ID: name, Name: name, Total: total, Started: &now}
	p.to.Status(p.st)
	return p
}

// reader counts what is read as progress.
func (p *progress) reader(r io.Reader) io.Reader { return &progressReader{p: p, r: r} }

type progressReader struct {
	p *progress
	r io.Reader
}

func (r *progressReader) Read(dt []byte) (int, error) {
	n, err := r.r.Read(dt)
	r.p.st.Current += int64(n)
	if now := time.Now(); now.Sub(r.p.last) >= progressEvery {
		r.p.last = now
		r.p.to.Status(r.p.st)
	}
	return n, err
}

// done reports the end. What has failed is left as it stands.
func (p *progress) done(err error) {
	if err == nil {
		now := time.Now()
		p.st.Completed = &now
	}
	p.to.Status(p.st)
}
