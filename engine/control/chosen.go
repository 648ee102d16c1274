package control

import (
	"context"
	"maps"

	controlapi "github.com/moby/buildkit/api/services/control"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/session/remote"
)

// chosen are the exporters that the session of a build chooses when it sees the result. It is
// for one goroutine.
type chosen struct {
	s    *Server
	req  *controlapi.SolveRequest
	said bool
	list []*controlapi.Exporter
}

// session is the build's, if its client speaks BuildKit's protocol.
func (c *chosen) session() (*remote.Session, error) {
	return (&output{sessions: c.s.opt.Engine.Sessions(), session: c.req.Session}).caller()
}

// ask has the session choose. It may look at the references by their names.
func (c *chosen) ask(ctx context.Context, metadata map[string][]byte, refs []string) error {
	r, err := c.session()
	if err != nil {
		return err
	}
	list, err := r.Exporters(ctx, metadata, refs)
	for _, x := range list {
		c.list = append(c.list, &controlapi.Exporter{Type: x.GetType(), Attrs: x.GetAttrs()})
	}
	c.said = true
	return err
}

// returned has the session of a client choose that is the frontend, while it can look at what
// it has returned. Nil if it is not to choose.
func (c *chosen) returned() func(context.Context, *gwclient.Result, []string) error {
	if c == nil {
		return nil
	}
	return func(ctx context.Context, res *gwclient.Result, refs []string) error {
		err := res.EachRef(func(ref gwclient.Reference) error {
			if ref == nil {
				return nil
			}
			return ref.Evaluate(ctx)
		})
		if err != nil {
			return err
		}
		return c.ask(ctx, res.Metadata, refs)
	}
}

// exports are the outputs that were chosen, which come after the others. Nil if the session is
// not to choose.
func (c *chosen) exports(given int, keep func(n int, x *export.Request)) func(context.Context, map[string][]byte) ([]export.Request, error) {
	if c == nil {
		return nil
	}
	return func(ctx context.Context, metadata map[string][]byte) ([]export.Request, error) {
		if !c.said {
			if err := c.ask(ctx, metadata, nil); err != nil {
				return nil, err
			}
		}
		out := c.s.requests(c.req, c.list, given)
		for n := range out {
			keep(given+n, &out[n])
		}
		return out, nil
	}
}

// ended tells the session what all exporters have said.
func (c *chosen) ended(ctx context.Context, said map[string]string) error {
	if c == nil {
		return nil
	}
	r, err := c.session()
	if err != nil {
		return err
	}
	return r.Exported(ctx, maps.Clone(said))
}
