package engine

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/llb"
	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// maxAccounted is of how many steps a build gives account.
const maxAccounted = 20_000

// account says what the steps of the build were told, by what caches know them, and what
// became of them; and how many there are besides. It is called while the job is there.
func (b *build) account(ctx context.Context) (steps []why.Step, omitted int) {
	if !b.req.Account {
		return nil, 0
	}
	return b.accountOf(ctx, b.job.Trace())
}

// accountOf is account by a trace.
func (b *build) accountOf(ctx context.Context, trace solver.Trace) (steps []why.Step, omitted int) {
	ctx = b.job.Context(ctx)
	at := map[digest.Digest]int{}
	for _, t := range trace {
		n, known := at[t.Vertex]
		if !known {
			if len(steps) == maxAccounted {
				omitted++
				continue
			}
			n = len(steps)
			at[t.Vertex] = n
			steps = append(steps, b.told(ctx, &t))
		}
		decided(&steps[n], &t)
	}
	return steps, omitted
}

// Account says what the steps of a build under way were told, and what became of them so far.
func (e *Engine) Account(id string) []why.Step {
	for _, b := range e.builds.which(func(b *build) bool { return b.req.ID == id }) {
		steps, _ := b.account(context.Background())
		return steps
	}
	return nil
}

// told is what a step was told.
func (b *build) told(ctx context.Context, t *solver.EdgeTrace) why.Step {
	name := why.Redacted(t.Name)
	s := why.Step{Digest: t.Vertex, Name: name, Kind: why.OpOther, Place: why.PlaceOf(name), NoCache: t.IgnoreCache}
	v, where := b.vertices.of(t.Vertex)
	s.Place.File, s.Place.Line = where.File, where.Line
	s.Inputs = make([]why.Input, len(t.Inputs))
	for i, in := range t.Inputs {
		s.Inputs[i].Step, s.Inputs[i].Output = in.Vertex, int(in.Output)
	}
	if v == nil {
		return s
	}
	if llb.Inherits(v) {
		s.NoCache, s.Inherits = false, true
	}
	op, ok := v.Sys().(*pb.Op)
	if !ok {
		return s
	}
	var parts [][]why.Part
	s.Kind, s.Facts, parts = why.Describe(op, len(t.Inputs))
	for i := range s.Inputs {
		s.Inputs[i].Parts = parts[i]
	}
	if src := op.GetSource(); src != nil && len(t.Op) > 0 { // it was resolved
		if d := b.stoodFor(ctx, src, op.GetPlatform()); d != "" {
			s.Facts = append(s.Facts, why.Fact{Kind: why.FactDigest, Value: d})
		}
	}
	return s
}

// stoodFor is the digest or the commit that a source was resolved to; "" if it has none.
func (b *build) stoodFor(ctx context.Context, op *pb.SourceOp, platform *pb.Platform) string {
	src, err := b.engine.sources.For(op.GetIdentifier())
	if err != nil {
		return ""
	}
	i, err := src.Parse(op, platform)
	if err != nil {
		return ""
	}
	d, ok := i.(source.Describer)
	if !ok {
		return ""
	}
	var c provenance.Capture
	if d.Describe(ctx, &c) != nil {
		return ""
	}
	for _, i := range c.Sources.Images {
		return i.Digest.String()
	}
	for _, g := range c.Sources.Git {
		return g.Commit
	}
	for _, h := range c.Sources.HTTP {
		return h.Digest.String()
	}
	for _, i := range c.Sources.ImageBlobs {
		return i.Digest.String()
	}
	return ""
}

// decided adds what was decided about one output of a step.
func decided(s *why.Step, t *solver.EdgeTrace) {
	if len(t.Op) > len(s.Ops) {
		s.Ops = t.Op
	}
	for _, k := range t.Keys {
		if !slices.Contains(s.Keys, k.ID) {
			s.Keys = append(s.Keys, k.ID)
		}
	}
	for i := range min(len(t.Inputs), len(s.Inputs)) {
		in, is := &t.Inputs[i], &s.Inputs[i]
		is.Selector = cmp.Or(is.Selector, in.Selector)
		if in.Content != nil {
			is.Content = in.Content.ID
		}
		for _, k := range in.Keys {
			if !slices.Contains(is.Keys, k.ID) {
				is.Keys = append(is.Keys, k.ID)
			}
		}
	}
	if t.Err != nil {
		s.Error, s.Outcome = why.Redacted(t.Err.Error()), client.Failed
		var of *solver.VertexError
		if errors.As(t.Err, &of) && of.Digest != t.Vertex {
			s.Error, s.Outcome = "", client.Canceled // one below it failed
		}
		if errors.Is(t.Err, context.Canceled) {
			s.Outcome = client.Canceled
		}
		var refused *RefusedError
		s.Refused = errors.As(t.Err, &refused)
	}
	if t.Running {
		s.Outcome = client.Executed
	}
	var content *int
	for _, d := range t.Decisions {
		switch d.Kind {
		case solver.TraceProbe, solver.TraceMatch:
			s.Asked = union(s.Asked, d.Asked)
			if n := int(d.Input); d.Content && len(d.Answered) > 0 {
				content = &n
			}
		case solver.TraceLoadFailed:
			s.Unloadable = union(s.Unloadable, d.Asked)
		case solver.TraceLost:
			s.Lost = true
		case solver.TraceLoaded:
			s.Outcome, s.Cached = client.Cached, &why.Hit{Caches: d.Asked, Content: content}
		case solver.TraceShared:
			s.Outcome = client.Shared
			if len(d.Asked) > 0 {
				s.Outcome, s.Cached = client.Cached, &why.Hit{Caches: d.Asked, Content: content}
			}
		case solver.TraceExecuted:
			s.Outcome, s.Cached = client.Executed, nil
		}
	}
}

func union(to, more []string) []string {
	for _, m := range more {
		if !slices.Contains(to, m) {
			to = append(to, m)
		}
	}
	return to
}
