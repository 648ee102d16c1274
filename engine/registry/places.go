package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker/auth"

	"github.com/tenonbuild/tenon/engine/session/origin"
)

// Where credentials go:
//
//   - A user's password, and the tokens that were got for it, go to the registry that they
//     are of: to its scheme, host and port.
//   - They go to the server of tokens that the registry names, on whatever host that is,
//     as at Docker Hub and GitLab, if the way there is not weaker than to the registry:
//     that of an https registry is https.
//   - Where a registry redirects to, mostly for blobs, and where it wants an upload to go,
//     is another place. It gets nothing of the user's. If it asks for a token, as
//     registries do that redirect to another, it gets one that is anybody's.

// own says whether a URL is at the registry itself.
func (au *authorizer) own(u *url.URL) bool {
	if au.insecure && u.Scheme == "http" && u.Host == au.host.Host {
		return true
	}
	return origin.Of(u) == origin.Of(&url.URL{Scheme: au.host.Scheme, Host: au.host.Host})
}

// may says whether tokens may be sent to a URL: of the registry, or anonymous ones. What
// has the registry's name and is not the registry has none of its own.
func (au *authorizer) may(u *url.URL) bool {
	return au.own(u) || u.Scheme == "https" && !strings.EqualFold(u.Host, au.host.Host)
}

const maxRedirects = 10

// redirected is http.Client.CheckRedirect for what is asked of the registry: net/http
// alone would pass headers on to other ports and to subdomains, and to plain http.
func (l *lent) redirected(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("it redirects more than %d times", maxRedirects)
	}
	origin.Leave(req.Header)
	req.URL.User = nil
	if err := l.Authorize(req.Context(), req); err != nil {
		return fmt.Errorf("redirected to %s: %w", origin.Of(req.URL), err)
	}
	return nil
}

// tokenRedirected is http.Client.CheckRedirect for servers of tokens. A password may be in
// the header or in the body.
func tokenRedirected(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("it redirects more than %d times", maxRedirects)
	}
	from, to := origin.Of(via[0].URL), origin.Of(req.URL)
	authorization := via[0].Header.Get("Authorization")
	origin.Leave(req.Header)
	req.URL.User = nil
	switch {
	case from != to && req.Method != http.MethodGet:
		return fmt.Errorf("the server of tokens %s redirects to %s: credentials are not sent there", from, to)
	case from == to && authorization != "":
		req.Header.Set("Authorization", authorization)
	}
	return nil
}

// checkRealms refuses servers of tokens to which a password would go less safely than to
// the registry at place.
func checkRealms(place origin.Origin, header http.Header) error {
	for _, c := range auth.ParseAuthHeader(header) {
		if c.Scheme != auth.BearerAuth {
			continue
		}
		realm, err := url.Parse(c.Parameters["realm"])
		if err != nil || realm.Host == "" || realm.Scheme != "http" && realm.Scheme != "https" {
			return errors.New("the registry names no server of tokens that can be asked: its realm should be an https URL")
		}
		if to := origin.Of(realm); to.Weaker(place) {
			return fmt.Errorf("the registry %s wants credentials to be sent to %s, which is not encrypted: they are not; its realm should be an https URL", place, to)
		}
	}
	return nil
}
