package registry

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/origin"
)

// lent is the authorizer of a job that several sessions may be there for. It is that of one of
// them. When a registry demands credentials, another may be the first to give some: then it is
// that one's from there on. So the tokens of each session stay its own.
type lent struct {
	r *Registry
	// of makes the authorizer of a session.
	of func(*access) *authorizer

	mu sync.Mutex // guards at
	at *authorizer
}

// Authorize implements docker.Authorizer.
func (l *lent) Authorize(ctx context.Context, req *http.Request) error {
	return l.current().authorize(ctx, req)
}

// AddResponses implements docker.Authorizer. Credentials are asked for under the context of
// the request.
func (l *lent) AddResponses(ctx context.Context, responses []*http.Response) error {
	au := l.current()
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
		if c, au, err = l.credentials(ctx, au); err != nil {
			return fmt.Errorf("credentials for %s: %w", au.host.Host, err)
		}
	}
	return au.answer(ctx, place.Host, c, responses)
}

// credentials asks the session whose authorizer is used, and others that ctx works for: see
// session.Ask. It returns the authorizer of the one that has answered. Anonymous access has
// none.
func (l *lent) credentials(ctx context.Context, au *authorizer) (session.Credentials, *authorizer, error) {
	id := au.access.session
	if id == "" {
		return session.Credentials{}, au, nil
	}
	type answer struct {
		of string
		session.Credentials
	}
	a, err := session.AskFrom(ctx, l.r.opt.Sessions, id, func(ctx context.Context, s session.Session) (answer, error) {
		c, err := s.Credentials(ctx, au.host.Host, au.repository)
		return answer{s.ID(), c}, err
	})
	if err != nil || a.of == id {
		return a.Credentials, au, err
	}
	other := l.of(l.r.accessBy(a.of))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = other
	return a.Credentials, other, nil
}

func (l *lent) current() *authorizer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at
}
