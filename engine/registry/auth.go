package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/origin"
)

// access is what one session has been given by registries: tokens. It is never used for
// another session.
type access struct {
	session  string // "": anonymous
	sessions *session.Sessions

	mu    sync.Mutex // guards what follows
	auths map[string]*authorizer
}

func newAccess(id string, sessions *session.Sessions) *access {
	return &access{
		session:  id,
		sessions: sessions,
		auths:    map[string]*authorizer{},
	}
}

// credentials asks the session. Anonymous access has none. That the session is gone is
// session.ErrNotFound: who goes on for another asks accessOf again.
func (a *access) credentials(ctx context.Context, host, repository string) (session.Credentials, error) {
	if a.session == "" {
		return session.Credentials{}, nil
	}
	s, err := a.sessions.Get(a.session)
	if err != nil {
		return session.Credentials{}, err
	}
	c, err := s.Credentials(ctx, host, repository)
	if err != nil {
		return session.Credentials{}, fmt.Errorf("credentials for %s: %w", host, err)
	}
	return c, nil
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
	tokens, requests := *host.Client, *host.Client
	tokens.CheckRedirect, requests.CheckRedirect = tokenRedirected, au.redirected
	tokens.Transport = bounded{base: tokens.Transport, all: true}
	au.client = &requests
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

// authorizer is containerd's, which answers a registry's challenge, with
// credentials that are asked for under the context of the request, and go to nobody
// but the registry: see places.go.
type authorizer struct {
	access     *access
	host       docker.RegistryHost
	repository string // as the host calls it
	insecure   bool
	client     *http.Client // makes the host's requests
	fresh      func() docker.Authorizer

	mu    sync.Mutex // guards what follows
	inner docker.Authorizer
	known map[string]session.Credentials // by host that wanted them
}

// Authorize implements docker.Authorizer.
func (au *authorizer) Authorize(ctx context.Context, req *http.Request) error {
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

// AddResponses implements docker.Authorizer.
func (au *authorizer) AddResponses(ctx context.Context, responses []*http.Response) error {
	last := responses[len(responses)-1]
	place := last.Request.URL
	if !au.may(place) {
		return fmt.Errorf("%s asks for credentials, after a redirect from %s, and they are not sent there: it is not encrypted", origin.Of(place), au.host.Host)
	}
	if err := checkRealms(origin.Of(place), last.Header); err != nil {
		return err
	}
	var c session.Credentials
	if au.own(place) {
		var err error
		if c, err = au.access.credentials(ctx, au.host.Host, au.repository); err != nil {
			return err
		}
	}
	au.mu.Lock()
	au.known[place.Host] = c
	au.mu.Unlock()
	return au.current().AddResponses(ctx, responses)
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
