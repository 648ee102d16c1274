package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// StallError says that a server neither sent nor took anything for too long.
type StallError struct {
	Host  string
	After time.Duration
}

func (e *StallError) Error() string {
	return fmt.Sprintf("%s: the server sent nothing for %s", e.Host, e.After)
}

// commitFactor is how much longer a registry may take to answer an upload that it
// has whole: it may be moving it to where it stays.
const commitFactor = 10

// CutStalled returns a RoundTripper that makes requests by base and cuts them, with a
// *StallError, when nothing moves for limit. Only the server's time counts: not that
// of who reads a response, or writes a request's body. It is for whoever else fetches
// from servers, too.
func CutStalled(base http.RoundTripper, limit time.Duration) http.RoundTripper {
	return &watching{base: base, limit: limit}
}

// watching is what CutStalled returns.
type watching struct {
	base  http.RoundTripper
	limit time.Duration
}

// RoundTrip implements http.RoundTripper.
func (t *watching) RoundTrip(req *http.Request) (*http.Response, error) {
	stall := &StallError{Host: req.URL.Host, After: t.limit}
	ctx, cancel := context.WithCancelCause(req.Context())
	w := &watch{limit: t.limit}
	w.timer = time.AfterFunc(t.limit, func() { cancel(stall) })

	req = req.WithContext(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &watchedUpload{ReadCloser: req.Body, w: w}
	}
	resp, err := t.base.RoundTrip(req)
	w.finish()
	if err != nil {
		err = stalled(ctx, stall, err)
		cancel(nil)
		return nil, err
	}
	resp.Body = &watchedBody{
		rc:     resp.Body,
		w:      w,
		stall:  func(err error) error { return stalled(ctx, stall, err) },
		cancel: func() { cancel(nil) },
	}
	return resp, nil
}

// stalled is stall if that is why err happened, and otherwise err.
func stalled(ctx context.Context, stall *StallError, err error) error {
	var is *StallError
	if errors.As(context.Cause(ctx), &is) && is == stall {
		return stall
	}
	return err
}

// watch is the time a server has left to do something.
type watch struct {
	limit time.Duration
	timer *time.Timer

	mu       sync.Mutex // guards answered, and orders it with the timer
	answered bool       // the upload no longer matters
}

// finish ends the wait for an answer.
func (w *watch) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered = true
	w.timer.Stop()
}

// upload lets time run (d > 0) or stand still while a body is sent.
func (w *watch) upload(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.answered:
	case d > 0:
		w.timer.Reset(d)
	default:
		w.timer.Stop()
	}
}

// watchedUpload is a request's body. Time stands still while it is being produced.
type watchedUpload struct {
	io.ReadCloser
	w *watch
}

func (b *watchedUpload) Read(p []byte) (int, error) {
	b.w.upload(0)
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.w.upload(commitFactor * b.w.limit)
	} else {
		b.w.upload(b.w.limit)
	}
	return n, err
}

// watchedBody is a response's body. Time runs while somebody reads it.
type watchedBody struct {
	rc     io.ReadCloser
	w      *watch
	stall  func(error) error
	cancel func()
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.w.timer.Reset(b.w.limit)
	n, err := b.rc.Read(p)
	b.w.timer.Stop()
	if err != nil && err != io.EOF {
		err = b.stall(err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.rc.Close()
	b.cancel()
	return err
}
