package control

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/tonistiigi/fsutil"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/remote"
)

// output is where an exporter writes to: the caller's output of a number.
type output struct {
	sessions *session.Sessions
	session  string
	n        int
}

var _ export.Remote = (*output)(nil)

func (o *output) caller() (*remote.Session, error) {
	x, err := o.sessions.Get(o.session)
	if err != nil {
		return nil, fmt.Errorf("the client that output %d is for: %w", o.n, err)
	}
	r, ok := x.(*remote.Session)
	if !ok {
		return nil, fmt.Errorf("output %d: session %s takes none", o.n, o.session)
	}
	return r, nil
}

func (o *output) open(ctx context.Context, md map[string]string) (io.WriteCloser, error) {
	r, err := o.caller()
	if err != nil {
		return nil, err
	}
	return r.File(ctx, o.n, md)
}

// Send implements export.Remote.
func (o *output) Send(ctx context.Context, files fsutil.FS, mirror bool, sent func(int)) error {
	r, err := o.caller()
	if err != nil {
		return err
	}
	return r.Send(ctx, o.n, files, mirror, sent)
}

// Blobs implements export.Remote.
func (o *output) Blobs(context.Context) (content.Ingester, error) {
	r, err := o.caller()
	if err != nil {
		return nil, err
	}
	return r.Store(), nil
}
