package engine

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/protobuf/proto"
)

// metadata is what sources have said in one build. Each is asked once: a Dockerfile
// may begin many stages with one image.
type metadata struct {
	mu    sync.Mutex // guards known
	known map[string]*told
}

// told is one answer.
type told struct {
	ended chan struct{} // closed when there is one
	resp  *sourceresolver.MetaResponse
	err   error
	// cancelled says that who asked did not wait for it.
	cancelled bool
}

// resolveMetadata asks a source, if the policies allow it, and shows that it does.
func (b *build) resolveMetadata(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	op = proto.CloneOf(op)
	if err := b.decide(ctx, op, opt); err != nil {
		return nil, err
	}
	return b.metadataOf(ctx, op, opt)
}

// metadataOf asks a source whatever the policies say.
func (b *build) metadataOf(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	if err := b.mayRead(op); err != nil {
		return nil, err
	}
	if o := opt.OCILayoutOpt; o != nil {
		if err := b.mayUse(o.Store.SessionID); err != nil {
			return nil, err
		}
	}
	opt.SourcePolicies = nil
	name := opt.LogName
	if name == "" {
		name = "load metadata for " + op.GetIdentifier()
	}
	opt.LogName = ""
	key, err := json.Marshal(struct {
		Op  *pb.SourceOp
		Opt sourceresolver.Opt
	}{op, opt})
	if err != nil {
		return nil, err
	}
	resp, err := b.metadata.of(ctx, string(key), func() (_ *sourceresolver.MetaResponse, err error) {
		ctx, end := b.job.Begin(ctx, name)
		defer func() { end(err) }()
		return b.engine.sources.ResolveMetadata(ctx, op, opt)
	})
	if err != nil {
		return nil, err
	}
	own := *resp
	return &own, nil
}

// of returns what ask says, asking once a key. Whose asking was cancelled has asked
// for nobody but himself.
func (m *metadata) of(ctx context.Context, key string, ask func() (*sourceresolver.MetaResponse, error)) (*sourceresolver.MetaResponse, error) {
	for {
		m.mu.Lock()
		if m.known == nil {
			m.known = map[string]*told{}
		}
		t := m.known[key]
		if t == nil {
			t = &told{ended: make(chan struct{})}
			m.known[key] = t
			m.mu.Unlock()
			t.resp, t.err = ask()
			if t.err != nil { // who comes later may have more luck
				m.mu.Lock()
				delete(m.known, key)
				m.mu.Unlock()
			}
			t.cancelled = ctx.Err() != nil
			close(t.ended)
			return t.resp, t.err
		}
		m.mu.Unlock()
		select {
		case <-t.ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if t.err == nil || !t.cancelled {
			return t.resp, t.err
		}
	}
}
