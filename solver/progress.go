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
	s *Solver
	v *vertex // nil: to the job itself
	j *Job
	// of is what reports to the job are about, if v is nil; "" for what they say.
	of digest.Digest
}

// ProgressFrom returns the Progress of the op, or job, that ctx belongs to. Of a
// ctx that belongs to neither it returns one that reports to nobody.
func ProgressFrom(ctx context.Context) *Progress {
	if t := taskOf(ctx); t != nil {
		return &Progress{s: t.solver(), v: t.v}
	}
	if b, ok := ctx.Value(builderKey{}).(*builder); ok {
		return &Progress{s: b.s, v: b.v}
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
	case p.v != nil:
		return p.v.digest
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
	if p.v == nil {
		p.j.journal = append(p.j.journal, en)
		for _, w := range p.j.watchers {
			w.show(shown{entry: en})
		}
		return
	}
	p.s.journalise(p.v, en)
}

// journalise keeps what was reported for a vertex. Solver.watching is held.
func (s *Solver) journalise(v *vertex, en entry) {
	if v.progress.journal == nil {
		v.progress.journal = &journal{}
	}
	v.progress.journal.entries = append(v.progress.journal.entries, en)
	for _, w := range v.progress.journal.watchers {
		w.show(shown{entry: en})
	}
}

// entry is one report: one of its fields is set.
type entry struct {
	status  *client.VertexStatus
	log     *client.VertexLog
	warning *client.VertexWarning
	step    *client.Vertex // see Job.Begin
}

// journal is what was reported for a vertex, and who is told. Guarded by
// Solver.watching.
type journal struct {
	entries  []entry
	watchers []*watcher
	ended    bool // they have been shown how the vertex ended
}

// report tells that a cache, or something else a build can do without, failed for
// a vertex: as a warning, once.
func (s *Solver) report(v *vertex, err error) {
	if v.progress.reported {
		return
	}
	v.progress.reported = true
	w := &client.VertexWarning{
		Vertex: v.digest, Level: 1,
		Short:  []byte(fmt.Sprintf("the cache of %s could not be used fully: %v", v.name, err)),
		Detail: [][]byte{[]byte(err.Error())},
	}
	s.watching.Lock()
	s.journalise(v, entry{warning: w})
	s.watching.Unlock()
}
