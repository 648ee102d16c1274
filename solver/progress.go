package solver

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/client"
)

// Progress reports what an op is doing to the streams of the jobs it works for.
// It may be used by several goroutines. What is reported is kept for subscribers
// that join later, for as long as a job holds the vertex.
type Progress struct {
	s    *Solver
	op   *opState     // nil: to the job itself
	call *callContext // of the op's run; nil if it is of none
	j    *Job
	// of is what reports to the job are about, if op is nil; "" for what they say.
	of digest.Digest
}

// ProgressFrom returns the Progress of the op, or job, that ctx belongs to. Of a
// ctx that belongs to neither it returns one that reports to nobody.
func ProgressFrom(ctx context.Context) *Progress {
	if c := callOf(ctx); c != nil {
		p := &Progress{s: c.s, op: c.op}
		if c.runs {
			p.call = c
		}
		return p
	}
	if b, ok := ctx.Value(builderKey{}).(*builder); ok {
		return &Progress{s: b.s, op: b.op}
	}
	if st, ok := ctx.Value(jobStepKey{}).(*jobStep); ok {
		return &Progress{s: st.job.s, j: st.job, of: st.digest}
	}
	if j, ok := ctx.Value(jobKey{}).(*Job); ok {
		return &Progress{s: j.s, j: j}
	}
	return &Progress{}
}

// about is the digest of what a report is about that says said.
func (p *Progress) about(said digest.Digest) digest.Digest {
	switch {
	case p.op != nil:
		return p.op.digest
	case p.of != "":
		return p.of
	}
	return said
}

// Status reports the state of a part of the work. A later report of the same ID
// replaces it. Vertex is filled in, and Timestamp where it is zero.
func (p *Progress) Status(st client.VertexStatus) {
	st.Vertex = p.about(st.Vertex)
	if st.Timestamp.IsZero() {
		st.Timestamp = time.Now()
	}
	p.add(entry{status: &st})
}

// Log reports output. Stream is 1 or 2, as for file descriptors. The data is copied.
func (p *Progress) Log(stream int, data []byte) {
	l := &client.VertexLog{Stream: stream, Data: append([]byte(nil), data...), Timestamp: time.Now()}
	l.Vertex = p.about("")
	p.add(entry{log: l})
}

// Warn reports a warning. Vertex is filled in.
func (p *Progress) Warn(w client.VertexWarning) {
	w.Vertex = p.about(w.Vertex)
	p.add(entry{warning: &w})
}

func (p *Progress) add(en entry) {
	if p.s == nil {
		return
	}
	p.s.watching.Lock()
	defer p.s.watching.Unlock()
	if p.op == nil {
		p.j.journal.add(en)
		for _, w := range p.j.watchers {
			w.show(shown{entry: en})
		}
		return
	}
	p.s.journalise(p.op, en)
	if p.call != nil {
		p.call.tell(en)
	}
}

// journalise keeps what was reported for an op. Solver.watching is held.
func (s *Solver) journalise(op *opState, en entry) {
	if op.forgotten {
		return
	}
	if op.journal == nil {
		op.journal = &journal{}
	}
	op.journal.add(en)
	for _, w := range op.journal.watchers {
		w.show(shown{entry: en})
	}
}

// report tells that a cache, or something else a build can do without, failed for
// a vertex: as a warning, once.
func (s *Solver) report(v *vertex, err error) {
	if v.progress.reported {
		return
	}
	v.progress.reported = true
	w := &client.VertexWarning{
		Vertex: v.op.digest, Level: 1,
		Short:  []byte(fmt.Sprintf("the cache of %s could not be used fully: %v", v.op.name, err)),
		Detail: [][]byte{[]byte(err.Error())},
	}
	s.watching.Lock()
	s.journalise(v.op, entry{warning: w})
	s.watching.Unlock()
}
