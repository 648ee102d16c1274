package http

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/tenonbuild/tenon/engine/session"
)

// uploads serves the URLs that stand for what the caller of a build uploads, and has base
// serve all others.
type uploads struct {
	base     http.RoundTripper
	sessions *session.Sessions
}

// uploaded says whether a URL stands for an upload.
func uploaded(u *url.URL) bool { return u.Host == session.UploadHost }

// RoundTrip implements http.RoundTripper. What an upload lacks it lacks for good: it is
// there once.
func (t uploads) RoundTrip(req *http.Request) (*http.Response, error) {
	if !uploaded(req.URL) {
		return t.base.RoundTrip(req)
	}
	if req.Response != nil {
		return nil, &refused{errors.New("a server redirects to what the client uploads, which is not for it to say")}
	}
	if req.Method != http.MethodGet {
		return nil, &refused{fmt.Errorf("an upload can only be read, not asked with %s", req.Method)}
	}
	sess, err := t.sessions.Of(req.Context())
	if err != nil {
		return nil, &refused{err}
	}
	from, ok := sess.(session.Uploader)
	if !ok {
		return nil, &refused{errors.New("the client uploads nothing")}
	}
	body, err := from.Upload(req.Context(), req.URL)
	if err != nil {
		return nil, &refused{err}
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: body, ContentLength: -1, Request: req,
	}, nil
}
