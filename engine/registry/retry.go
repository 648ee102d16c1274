package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	remoteserrors "github.com/containerd/containerd/v2/core/remotes/errors"

	"github.com/tenonbuild/tenon/solver"
)

const (
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 8 * time.Second
	// maxRetryAfter is the longest that a registry may make a build wait.
	maxRetryAfter = time.Minute
)

// backoff is how long to wait after n failures in a row: doubling, and spread so
// that many clients that failed together do not come back together.
func backoff(n int) time.Duration {
	d := maxBackoff
	if n < 6 {
		d = min(d, firstBackoff<<(n-1))
	}
	return d/2 + rand.N(d/2)
}

// exhausted is the failure of the last attempt. What is above this package's
// transport must not try again: it would multiply the attempts.
type exhausted struct {
	attempts int
	cause    error
}

func (e *exhausted) Error() string {
	if e.attempts == 1 {
		return e.cause.Error()
	}
	return fmt.Sprintf("%v (gave up after %d attempts)", e.cause, e.attempts)
}

// Unwrap hides a connection that ended: containerd repeats what it sees as one.
func (e *exhausted) Unwrap() error {
	if errors.Is(e.cause, io.EOF) || errors.Is(e.cause, io.ErrUnexpectedEOF) {
		return nil
	}
	return e.cause
}

// LaterError is of a registry that asks to be asked later than it can be waited for.
type LaterError struct {
	After time.Duration
	cause error
}

func (e *LaterError) Error() string {
	return fmt.Sprintf("%v: it asks to come back in %s; try again then, or configure a mirror or credentials", e.cause, e.After)
}

// Unwrap returns the answer.
func (e *LaterError) Unwrap() error { return e.cause }

// impatientKey marks the context of requests for what can be done without.
type impatientKey struct{}

// Impatient has requests that stall end, and not be made again: for what is to save time.
func Impatient(ctx context.Context) context.Context {
	return context.WithValue(ctx, impatientKey{}, true)
}

// retrying repeats requests that failed in a way that may pass.
type retrying struct {
	base     http.RoundTripper
	attempts int
	wait     func(context.Context, time.Duration) error
}

// RoundTrip implements http.RoundTripper. What it gives up on is an error also
// where it is a response with a bad status.
func (t *retrying) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	for n := 1; ; n++ {
		resp, err := t.base.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusAccepted {
			if err := checkUpload(resp); err != nil {
				return nil, err
			}
			return resp, nil
		}
		if ctx.Err() != nil || !passing(req, resp, err) {
			return resp, err
		}
		delay, asked := retryAfter(resp)
		if err == nil {
			err = remoteserrors.NewUnexpectedStatusErr(resp)
			if cerr := resp.Body.Close(); cerr != nil {
				err = errors.Join(err, cerr)
			}
		}
		if n >= t.attempts {
			return nil, &exhausted{attempts: n, cause: err}
		}
		if delay > maxRetryAfter {
			return nil, &exhausted{attempts: n, cause: &LaterError{After: delay, cause: err}}
		}
		if !asked {
			delay = backoff(n)
		}
		note(ctx, "%s %s: %v; trying again in %s\n", req.Method, req.URL.Host, err, delay)
		if err := t.wait(ctx, delay); err != nil {
			return nil, err
		}
		if req, err = again(req); err != nil {
			return nil, err
		}
	}
}

// checkUpload refuses an upload to a place that no request can be made for:
// containerd's writer would wait for that request, whatever becomes of its context.
func checkUpload(resp *http.Response) error {
	at, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err == nil {
		// The path is put into another address as it is, without its escapes.
		_, err = url.Parse("http://registry" + at.Path)
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("the registry names a place for the upload that is no address: %w", err)
	return errors.Join(err, resp.Body.Close())
}

// again is req once more, with its body from the beginning.
func again(req *http.Request) (*http.Request, error) {
	if req.GetBody == nil {
		return req, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, fmt.Errorf("%s %s: body for another attempt: %w", req.Method, req.URL.Redacted(), err)
	}
	req = req.Clone(req.Context())
	req.Body = body
	return req, nil
}

// passing decides whether the same request may fare better later.
func passing(req *http.Request, resp *http.Response, err error) bool {
	reads := req.Method == http.MethodGet || req.Method == http.MethodHead
	replayable := req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
	if err != nil {
		// An upload that broke off has to begin with a new upload.
		return reads && resumable(req.Context(), err)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return replayable
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return reads
	}
	return false
}

// resumable says whether to try again after err.
func resumable(ctx context.Context, err error) bool {
	var stall *StallError
	if ctx.Value(impatientKey{}) != nil && errors.As(err, &stall) {
		return false
	}
	return broken(err)
}

// broken decides whether err is of a connection that may work the next time. One
// that is refused, a name that does not exist and a certificate that does not fit
// stay as they are.
func broken(err error) bool {
	var (
		stall *StallError
		last  *exhausted
		dns   *net.DNSError
		timed net.Error
	)
	switch {
	case errors.As(err, &last), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.As(err, &stall):
		return true
	case errors.As(err, &dns):
		return dns.IsTemporary || dns.IsTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNABORTED):
		return true
	}
	return errors.As(err, &timed) && timed.Timeout()
}

// retryAfter reads how long a response asks to wait, as seconds or as a date
// (RFC 9110, 10.2.3). A date is taken by the registry's own clock where it tells it.
func retryAfter(resp *http.Response) (d time.Duration, asked bool) {
	if resp == nil {
		return 0, false
	}
	v := resp.Header.Get("Retry-After")
	if s, err := strconv.ParseInt(v, 10, 32); err == nil && s >= 0 {
		return time.Duration(s) * time.Second, true
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	now, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(0, at.Sub(now)), true
}

// note tells whoever follows the work that ctx belongs to. Errors show no queries of URLs.
func note(ctx context.Context, format string, args ...any) {
	for i, a := range args {
		if err, ok := a.(error); ok {
			args[i] = unsigned{err}
		}
	}
	solver.ProgressFrom(ctx).Log(2, fmt.Appendf(nil, format, args...))
}
