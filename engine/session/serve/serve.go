// Package serve lends a session to a daemon over BuildKit's session protocol: it is the other
// end of package remote.
package serve

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/containerd/containerd/v2/core/content"
	bksession "github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tenonbuild/tenon/engine/session"
)

// Attach lends what s has. Stores are the content stores, by the names that the protocol has
// for them: Layout names that of an OCI layout.
func Attach(to *bksession.Session, s session.Session, stores map[string]content.Store) {
	l := lender{s}
	to.Allow(filesync.NewFSSyncProvider(l))
	to.Allow(secretsprovider.NewSecretProvider(l))
	to.Allow(attachable(func(g *grpc.Server) {
		auth.RegisterAuthServer(g, &credentials{s: s})
		sshforward.RegisterSSHServer(g, &agents{s: s})
		if signer, ok := s.(session.CacheSigner); ok {
			registerSigning(g, signer)
		}
	}))
	if len(stores) > 0 {
		to.Allow(sessioncontent.NewAttachable(stores))
	}
}

// Layout is the protocol's name of the content store of an OCI layout.
func Layout(name string) string { return "oci:" + name }

// attachable registers services with a session's server.
type attachable func(*grpc.Server)

// Register implements BuildKit's session.Attachable.
func (a attachable) Register(s *grpc.Server) { a(s) }

// lender lends directories and secrets.
type lender struct{ session.Session }

// LookupDir implements filesync.DirSource. Files belong to root, whoever has them here, as
// with docker build.
func (l lender) LookupDir(name string) (fsutil.FS, bool) {
	d, err := l.Dir(context.Background(), name)
	if err != nil || d.FS == nil {
		return nil, false
	}
	fs, err := fsutil.NewFilterFS(d.FS, &fsutil.FilterOpt{Map: func(_ string, st *types.Stat) fsutil.MapResult {
		st.Uid, st.Gid = 0, 0
		return fsutil.MapResultKeep
	}})
	return fs, err == nil
}

// GetSecret implements secrets.SecretStore.
func (l lender) GetSecret(ctx context.Context, id string) ([]byte, error) {
	dt, err := l.Secret(ctx, id)
	if errors.Is(err, session.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", secrets.ErrNotFound, err)
	}
	return dt, err
}

// credentials tells the names and passwords of registries. Tokens a daemon gets by itself.
type credentials struct {
	auth.UnimplementedAuthServer
	s session.Session
}

// Credentials implements auth.AuthServer.
func (c *credentials) Credentials(ctx context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	said, err := c.s.Credentials(ctx, req.Host, "")
	if err != nil {
		return nil, err
	}
	return &auth.CredentialsResponse{Username: said.Username, Secret: said.Secret}, nil
}

// agents forwards SSH agents.
type agents struct {
	sshforward.UnimplementedSSHServer
	s session.Session
}

// CheckAgent implements sshforward.SSHServer.
func (a *agents) CheckAgent(ctx context.Context, req *sshforward.CheckAgentRequest) (*sshforward.CheckAgentResponse, error) {
	conn, err := a.dial(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return &sshforward.CheckAgentResponse{}, conn.Close()
}

// ForwardAgent implements sshforward.SSHServer.
func (a *agents) ForwardAgent(stream sshforward.SSH_ForwardAgentServer) error {
	conn, err := a.dial(stream.Context(), fromMetadata(stream.Context(), sshforward.KeySSHID))
	if err != nil {
		return err
	}
	return sshforward.Copy(stream.Context(), conn, stream, nil)
}

func (a *agents) dial(ctx context.Context, id string) (net.Conn, error) {
	conn, err := a.s.SSH(ctx, id)
	return conn, refused(err)
}

// fromMetadata is what a request says beside its message.
func fromMetadata(ctx context.Context, key string) string {
	if md, ok := metadata.FromIncomingContext(ctx); ok && len(md[key]) > 0 {
		return md[key][0]
	}
	return ""
}

// refused is an error as the protocol has it.
func refused(err error) error {
	if errors.Is(err, session.ErrNotFound) {
		return status.Error(codes.NotFound, err.Error())
	}
	return err
}
