package recorder

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/solver/client"
)

const (
	// maxLive is of how many steps a build says why they run. For each, all that is known of
	// the build so far is looked at.
	maxLive = 100
	// liveBuilds is with how many earlier builds they are compared.
	liveBuilds = 5
)

// live says why steps run, while they do. It is for one goroutine.
type live struct {
	r       *Recorder
	now     *why.Build
	earlier []*why.Build
	read    bool // earlier is what there is
	said    map[digest.Digest]bool
	count   int
}

// explain adds to a message why the steps run that it tells of.
func (l *live) explain(st *client.SolveStatus) {
	if !l.r.Explain {
		return
	}
	for _, v := range st.Vertexes {
		if v.Started == nil || l.said[v.Digest] || !progress.IsStep(v.Name) || l.count == maxLive {
			continue
		}
		running := v.Outcome == "" && v.Completed == nil
		if !running && v.Outcome != client.Executed && v.Outcome != client.Failed {
			continue
		}
		cause := l.cause(v.Digest)
		if cause == "" {
			continue // it is being loaded, or nothing is known of it
		}
		at := v.Started
		if v.Completed != nil {
			at = v.Completed
		}
		st.Statuses = append(st.Statuses, &client.VertexStatus{
			ID: progress.Why + cause, Vertex: v.Digest, Timestamp: *at, Started: at, Completed: at,
		})
	}
}

// cause says why a step runs; "" if it does not, or if no earlier build had it.
func (l *live) cause(step digest.Digest) string {
	if !l.any() {
		return ""
	}
	l.count++
	e := l.explanation(step)
	if e == nil {
		return ""
	}
	if l.said == nil {
		l.said = map[digest.Digest]bool{}
	}
	l.said[step] = true
	if other := func(r why.Root) bool { return r.Cause.Kind != why.First }; !slices.ContainsFunc(e.Roots, other) {
		return ""
	}
	return inWords(e.Causes)
}

// explanation says why a step runs; nil if it does not.
func (l *live) explanation(step digest.Digest) *why.Explanation {
	l.now.Steps = l.r.Engine.Account(l.now.Ref)
	for i := range l.now.Steps {
		s := &l.now.Steps[i]
		if s.Digest == step && s.Ran() && s.Kind != why.OpSource {
			x := history.In(engine.History(l.r.Engine.Store().Root())).Explainer(context.Background(), l.now, l.earlier)
			return x.Explain(s)
		}
	}
	return nil
}

// inWords is the first of some causes, and how many there are besides.
func inWords(causes []why.Cause) string {
	if len(causes) == 0 {
		return ""
	}
	text := causes[0].String()
	if n := len(causes) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return text
}

// any says whether there are builds to compare with.
func (l *live) any() bool {
	if !l.read {
		l.read = true
		// What cannot be read is as if it were not there.
		l.earlier, _ = history.In(engine.History(l.r.Engine.Store().Root())).Earlier(context.Background(), l.now, liveBuilds, liveBuilds*20)
	}
	return len(l.earlier) > 0
}
