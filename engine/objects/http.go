package objects

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/containerd/errdefs"

	"github.com/tenonbuild/tenon/engine/registry"
)

const (
	// stallTimeout is for how long a server may send nothing, and take nothing.
	stallTimeout = 30 * time.Second
	// attempts is how often a request is made that fails in a way that may pass, firstWait
	// how long is waited before the second, and maxWait how long for all of them.
	attempts  = 4
	firstWait = 300 * time.Millisecond
	maxWait   = 10 * time.Second
	// maxAnswer bounds an answer that is no object, maxReason what is read of one that
	// refuses, in bytes.
	maxAnswer = 8 << 20
	maxReason = 4 << 10
)

// NewTransport is how the stores are reached: with the proxies of the environment.
func NewTransport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true // objects are bytes
	return registry.CutStalled(t, stallTimeout)
}

// client makes requests.
type client struct {
	http *http.Client
	// patience is how long is waited between attempts, in all.
	patience time.Duration
}

func newClient(t http.RoundTripper) client {
	return client{patience: maxWait, http: &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// StatusError is an answer that refuses.
type StatusError struct {
	Host   string
	Code   int
	Reason string // in the server's words
	// After is how long it asks to be left alone.
	After time.Duration
}

func (e *StatusError) Error() string {
	what := http.StatusText(e.Code)
	switch {
	case e.Code == http.StatusUnauthorized || e.Code == http.StatusForbidden:
		what = "access denied"
	case e.Code/100 == 3:
		what = "it is somewhere else (a region, an endpoint?), and redirects are not followed"
	}
	msg := fmt.Sprintf("%s: %s (%d)", e.Host, what, e.Code)
	if e.Reason != "" {
		msg += ": " + e.Reason
	}
	return msg
}

// Is has an object that is not there be errdefs.ErrNotFound.
func (e *StatusError) Is(target error) bool {
	return target == errdefs.ErrNotFound && e.Code == http.StatusNotFound
}

// statusOf is the code of an answer that refused; 0 of other errors.
func statusOf(err error) int {
	var s *StatusError
	if errors.As(err, &s) {
		return s.Code
	}
	return 0
}

// do makes a request, again if it fails in a way that may pass. Each attempt is made anew:
// what is signed has its date.
func (c client) do(ctx context.Context, make func() (*http.Request, error)) (*http.Response, error) {
	left := c.patience
	for n := 1; ; n++ {
		req, err := make()
		if err != nil {
			return nil, err
		}
		resp, err := c.http.Do(req.WithContext(ctx)) //nolint:bodyclose // it is the caller's
		wait := firstWait << (n - 1)
		var stall *registry.StallError
		switch {
		case err == nil && resp.StatusCode/100 == 2:
			return resp, nil
		case err == nil:
			again := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented
			wait = max(wait, retryAfter(resp))
			err = refusal(req, resp)
			if !again {
				return nil, err
			}
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.As(err, &stall):
			return nil, stall
		case errors.Is(err, errDamaged):
			return nil, unwrapURL(req, err)
		default:
			err = unwrapURL(req, err)
		}
		if left -= wait; n == attempts || left < 0 {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

// unwrapURL names the host in place of the URL, which may be signed.
func unwrapURL(req *http.Request, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("%s: %w", req.URL.Host, err)
}

func retryAfter(resp *http.Response) time.Duration {
	secs, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || secs < 0 {
		return 0
	}
	return time.Duration(min(secs, 1<<20)) * time.Second
}

// refusal reads why a server refuses, and closes the answer.
func refusal(req *http.Request, resp *http.Response) error {
	defer resp.Body.Close()                                   //nolint:errcheck // it is read
	dt, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // what there is
	return &StatusError{Host: req.URL.Host, Code: resp.StatusCode, Reason: reason(string(dt)), After: retryAfter(resp)}
}

// reason is what an answer says, on one line: the message of one in XML or JSON, as stores
// give them.
func reason(s string) string {
	for _, marks := range [][2]string{{"<Message>", "<"}, {`"message":"`, `"`}, {`"msg":"`, `"`}} {
		if _, after, ok := strings.Cut(s, marks[0]); ok {
			s, _, _ = strings.Cut(after, marks[1])
			break
		}
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	return strings.Join(strings.Fields(s[:min(len(s), 300)]), " ")
}

// answer makes a request and reads its answer, which is no object.
func (c client) answer(ctx context.Context, make func() (*http.Request, error)) (_ []byte, _ http.Header, err error) {
	resp, err := c.do(ctx, make)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	dt, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", resp.Request.URL.Host, err)
	}
	if len(dt) > maxAnswer {
		return nil, nil, fmt.Errorf("%s: its answer is larger than %d MiB", resp.Request.URL.Host, maxAnswer>>20)
	}
	return dt, resp.Header, nil
}

// object makes a request for an object, from an offset.
func (c client) object(ctx context.Context, offset int64, make func() (*http.Request, error)) (*Object, error) {
	resp, err := c.do(ctx, func() (*http.Request, error) {
		req, err := make()
		if err == nil {
			setOffset(req, offset)
		}
		return req, err
	})
	if err != nil {
		return nil, err
	}
	if got := resp.Header.Get("Content-Range"); offset > 0 && !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", offset)) {
		_ = resp.Body.Close() // it is of no use
		return nil, fmt.Errorf("%s: asked for what follows byte %d, it gave the range %q", resp.Request.URL.Host, offset, got)
	}
	modified, _ := http.ParseTime(resp.Header.Get("Last-Modified")) // else it is not known
	return &Object{ReadCloser: resp.Body, Modified: modified}, nil
}

// setOffset asks for what follows so many bytes.
func setOffset(req *http.Request, offset int64) {
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
}

// send sets the body of a request.
func send(req *http.Request, body io.ReadCloser, size int64) {
	if size == 0 {
		body = http.NoBody // else it is sent in chunks
	}
	req.Body, req.ContentLength = body, size
}

// sending sends bytes.
func sending(dt []byte) func(*http.Request) {
	return func(req *http.Request) { send(req, io.NopCloser(bytes.NewReader(dt)), int64(len(dt))) }
}

func hexDigest(dt []byte) string {
	sum := sha256.Sum256(dt)
	return hex.EncodeToString(sum[:])
}
