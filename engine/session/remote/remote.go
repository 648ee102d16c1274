// Package remote is the session of a caller in another process, or on another machine,
// over BuildKit's session protocol: the caller serves gRPC (file sync, secrets, SSH, auth,
// content, and where to write exports), on a connection that it has made itself.
package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/containerd/containerd/v2/core/content"
	bksession "github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/util/grpcerrors"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"github.com/tenonbuild/tenon/engine/session"
)

// Session is what a caller lends. It implements session.Session.
type Session struct {
	id     string
	client string
	caller bksession.Caller
}

var (
	_ session.Session = (*Session)(nil)
	_ session.Owned   = (*Session)(nil)
)

// Serve speaks to the caller behind a connection, and lends its session until the
// connection or ctx ends. Header is what the caller said when it connected (BuildKit's
// x-docker-expose-session-*). Client names who the caller is, as far as that is known: those
// of one name may share files that they have sent; "" is somebody unknown.
func Serve(ctx context.Context, conn net.Conn, header map[string][]string, client string, all *session.Sessions) error {
	id := first(header, headerID)
	if id == "" {
		return fmt.Errorf("a session without an ID: its header %s is missing", headerID)
	}
	// A manager of its own: BuildKit's has a session take another's place by its ID.
	m, err := bksession.NewManager()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var served errgroup.Group
	served.Go(func() error {
		defer cancel(errGone)
		return m.HandleConn(ctx, conn, header)
	})
	caller, err := m.Get(ctx, id, false)
	if err == nil {
		var remove func()
		if remove, err = all.Add(&Session{id: id, client: client, caller: caller}); err == nil {
			defer remove()
			<-ctx.Done()
		}
	}
	cancel(err)
	return errors.Join(err, served.Wait())
}

var errGone = errors.New("the client has ended its session")

// headerID is the header by which a caller names its session.
const headerID = "X-Docker-Expose-Session-Uuid"

// first returns the first value of a header, whatever its case.
func first(header map[string][]string, name string) string {
	for k, v := range header {
		if http.CanonicalHeaderKey(k) == name && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// ID implements session.Session.
func (s *Session) ID() string { return s.id }

// Client implements session.Owned.
func (s *Session) Client() string { return s.client }

// told is an error of a caller's: that it does not have something is
// session.ErrNotFound.
func told(err error) error {
	switch grpcerrors.Code(err) {
	case codes.NotFound, codes.Unimplemented:
		return fmt.Errorf("%w: %w", session.ErrNotFound, err)
	}
	return err
}

// Secret implements session.Session.
func (s *Session) Secret(ctx context.Context, id string) ([]byte, error) {
	dt, err := secrets.GetSecret(ctx, s.caller, id)
	if errors.Is(err, secrets.ErrNotFound) {
		return nil, fmt.Errorf("secret %q: %w", id, session.ErrNotFound)
	}
	return dt, err
}

// Credentials implements session.Session. BuildKit's protocol asks by host alone.
func (s *Session) Credentials(ctx context.Context, host, _ string) (session.Credentials, error) {
	resp, err := auth.NewAuthClient(s.caller.Conn()).Credentials(s.caller.Context(ctx), &auth.CredentialsRequest{Host: host})
	if err = told(err); errors.Is(err, session.ErrNotFound) {
		return session.Credentials{}, nil
	}
	if err != nil {
		return session.Credentials{}, err
	}
	return session.Credentials{Username: resp.Username, Secret: resp.Secret}, nil
}

// Layout implements session.Session. Whether there is such a layout shows when it is
// read.
func (s *Session) Layout(_ context.Context, name string) (content.Store, error) {
	return sessioncontent.NewCallerStore(s.caller, "oci:"+name), nil
}

// Cache implements session.CacheKeeper. Whether there is such a folder shows when it is read
// or written.
func (s *Session) Cache(_ context.Context, path string) (content.Store, error) {
	return sessioncontent.NewCallerStore(s.caller, "local:"+path), nil
}
