package http

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/origin"
)

// Secrets that are tried where none is named, followed by what names an origin: see
// origin.Origin.Names.
const (
	headerSecret = "HTTP_AUTH_HEADER_"
	tokenSecret  = "HTTP_AUTH_TOKEN_"
)

// userAgent also says what it can be taken for: some servers let nothing else in.
const userAgent = "tenon (compatible; buildkit/v0.33)"

// header makes the header of the first request of a job.
func (s *Source) header(ctx context.Context, j job, u *url.URL) (http.Header, error) {
	h := http.Header{}
	h.Set("User-Agent", userAgent)
	for _, f := range j.Header {
		h.Set(f.Name, f.Value)
	}
	if j.old.ETag != "" {
		h.Set("If-None-Match", j.old.ETag)
	}
	if j.old.Since != "" {
		h.Set("If-Modified-Since", j.old.Since)
	}
	return h, s.authorize(ctx, j.request, origin.Of(u), origin.Of(u), h)
}

// maxRedirects is how many places a server may send us on to: net/http's number.
const maxRedirects = 10

// redirected makes a request one for the place that a redirect leads to, with what that
// place may have, and nothing that was for the one before: net/http would send the same
// header to other ports and to subdomains, and over plain http.
func (s *Source) redirected(r request, req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return &refused{fmt.Errorf("it redirects more than %d times", maxRedirects)}
	}
	first, next := origin.Of(via[0].URL), origin.Of(req.URL)
	origin.Leave(req.Header)
	req.URL.User = nil // a server has no names and passwords to give
	if next == first {
		req.URL.User = via[0].URL.User
	}
	if err := s.authorize(req.Context(), r, first, next, req.Header); err != nil {
		return &refused{err}
	}
	return nil
}

// refused is why a redirect is not followed.
type refused struct{ error }

func (e *refused) Unwrap() error { return e.error }

// authorize sets the Authorization header for one place: the secret that the operation
// names, which is for the place of its URL only, or one that is named after the place.
// Without either, net/http takes what is in the URL.
func (s *Source) authorize(ctx context.Context, r request, first, at origin.Origin, h http.Header) error {
	if r.Secret != "" && at == first {
		if !at.Private() {
			return fmt.Errorf("authorization: the secret %s would be sent over plain http, which others can read: use https", r.Secret)
		}
		v, err := s.secret(ctx, r.Secret)
		if err != nil {
			return fmt.Errorf("authorization: %w; lend it with --secret id=%s,src=FILE", err, r.Secret)
		}
		return setAuthorization(h, r.Secret, v)
	}
	for _, place := range at.Names() {
		for _, prefix := range []string{headerSecret, tokenSecret} {
			v, err := s.secret(ctx, prefix+place)
			if errors.Is(err, session.ErrNotFound) {
				continue
			}
			if err != nil {
				return fmt.Errorf("authorization: %w", err)
			}
			if prefix == tokenSecret {
				v = "Bearer " + v
			}
			return setAuthorization(h, prefix+place, v)
		}
	}
	return nil
}

func setAuthorization(h http.Header, name, value string) error {
	value = strings.TrimRight(value, "\r\n") // what an editor or echo puts there
	if strings.ContainsAny(value, "\r\n\x00") {
		return fmt.Errorf("the secret %s has several lines, which a header cannot have", name)
	}
	h.Set("Authorization", value)
	return nil
}

// secret asks the sessions of the builds that ctx works for: see session.Ask.
func (s *Source) secret(ctx context.Context, name string) (string, error) {
	return session.Ask(ctx, s.opt.Sessions, func(ctx context.Context, of session.Session) (string, error) {
		dt, err := of.Secret(ctx, name)
		return string(dt), err
	})
}
