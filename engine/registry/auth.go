package registry

import (
	"context"
	"errors"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/tenonbuild/tenon/engine/session"
)

// access is what one session has been given by registries: tokens. It is never used for
// another session.
type access struct {
	session string // "": anonymous

	mu    sync.Mutex // guards what follows
	auths map[string]*authorizer
}

func newAccess(id string) *access {
	return &access{session: id, auths: map[string]*authorizer{}}
}

// authorizer returns the one of a repository on a host: credentials may be for no more. It
// keeps the tokens. Insecure is whether the host may be spoken to in plain http where it
// does not speak https.
func (a *access) authorizer(host docker.RegistryHost, repository string, insecure bool, headers http.Header) *authorizer {
	repository = strings.TrimPrefix(path.Join(strings.TrimPrefix(host.Path, "/v2"), repository), "/")
	key := host.Scheme + "://" + host.Host + "/" + repository
	a.mu.Lock()
	defer a.mu.Unlock()
	if au, ok := a.auths[key]; ok {
		return au
	}
	au := &authorizer{access: a, host: host, repository: repository, insecure: insecure, known: map[string]session.Credentials{}}
	tokens := *host.Client
	tokens.CheckRedirect = tokenRedirected
	tokens.Transport = bounded{base: tokens.Transport, all: true}
	au.fresh = func() docker.Authorizer {
		return docker.NewDockerAuthorizer(
			docker.WithAuthClient(&tokens),
			docker.WithAuthHeader(headers),
			docker.WithAuthCreds(au.creds),
		)
	}
	au.inner = au.fresh()
	a.auths[key] = au
	return au
}

// authorizer is containerd's, which answers a registry's challenge, with the credentials of
// one session, which go to nobody but the registry: see places.go.
type authorizer struct {
	access     *access
	host       docker.RegistryHost
	repository string // as the host calls it
	insecure   bool
	fresh      func() docker.Authorizer

	mu    sync.Mutex // guards what follows
	inner docker.Authorizer
	known map[string]session.Credentials // by host that wanted them
}

// authorize gives a request the token that there is.
func (au *authorizer) authorize(ctx context.Context, req *http.Request) error {
	if !au.may(req.URL) {
		return nil
	}
	inner := au.current()
	err := inner.Authorize(ctx, req)
	if err == nil {
		return nil
	}
	// containerd remembers a token that it did not get, and gives that error to
	// whoever asks next. Begin anew, so that it is nobody else's.
	au.mu.Lock()
	if au.inner == inner {
		au.inner = au.fresh()
	}
	au.mu.Unlock()
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return nil // somebody else's: go without, and be challenged
	}
	if req.Body != nil {
		// The request will not be made, and nobody else tells who writes its body.
		_ = req.Body.Close()
	}
	return err
}

// answer answers a challenge with credentials.
func (au *authorizer) answer(ctx context.Context, host string, c session.Credentials, challenges []*http.Response) error {
	au.mu.Lock()
	au.known[host] = c
	au.mu.Unlock()
	return au.current().AddResponses(ctx, challenges)
}

func (au *authorizer) current() docker.Authorizer {
	au.mu.Lock()
	defer au.mu.Unlock()
	return au.inner
}

func (au *authorizer) creds(host string) (username, secret string, err error) {
	au.mu.Lock()
	defer au.mu.Unlock()
	c := au.known[host]
	return c.Username, c.Secret, nil
}
