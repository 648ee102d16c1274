package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/session/origin"
	"github.com/tenonbuild/tenon/engine/source/internal/trees"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// job is a download.
type job struct {
	request
	as  *found // whose name and time the file is to have; nil for what the server says
	old entry  // what was fetched before and is still there; zero if nothing is
}

// downloaded is a file that was fetched. The Ref is its owner's.
type downloaded struct {
	ref   *store.Ref // nil if it is what the job's old is
	entry entry      // without its Tree, if ref is not nil
	said  found      // the file as the server says that it is
}

// maxRetryAfter is the longest that a server may make a build wait.
const maxRetryAfter = time.Minute

// passing is a failure that may pass.
type passing struct {
	error
	after time.Duration // what the server asks for; 0 for nothing
}

func (p passing) Unwrap() error { return p.error }

// download fetches a file, beginning again when that is broken off. It returns nil
// if the server says that it is still the job's old one.
func (s *Source) download(ctx context.Context, j job) (*downloaded, error) {
	p := &report{id: "downloading " + j.name(nil), progress: solver.ProgressFrom(ctx)}
	wait := s.opt.Wait
	for n := 1; ; n++ {
		got, err := s.attempt(ctx, j, p)
		if ctx.Err() != nil && err != nil {
			return nil, context.Cause(ctx)
		}
		again, ok := errors.AsType[passing](err)
		if !ok || j.upload() { // an upload is there once
			p.end(err)
			return got, err
		}
		if n == s.opt.Attempts {
			p.end(err)
			return nil, fmt.Errorf("%w (tried %d times)", err, n)
		}
		if again.after > maxRetryAfter {
			p.end(err)
			return nil, fmt.Errorf("%w: it asks to come back in %s", err, again.after)
		}
		delay := max(wait, again.after)
		p.progress.Log(2, fmt.Appendf(nil, "%s: %v; trying again in %s\n", redact(j.URL), err, delay))
		wait *= 2
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// attempt fetches a file once, if it is not the job's old one. Of that, if it had a tag,
// the server is asked first: some have tags and do not look at those that they are asked
// with.
func (s *Source) attempt(ctx context.Context, j job, p *report) (_ *downloaded, err error) {
	if j.old.ETag != "" {
		// An error here says nothing of the file: some servers have no HEAD.
		if resp, err := s.ask(ctx, http.MethodHead, j); err == nil {
			if err := resp.Body.Close(); err == nil && j.old.unchanged(resp) {
				return nil, nil
			}
		}
	}
	resp, err := s.ask(ctx, http.MethodGet, j)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode == http.StatusNotModified && j.old.Tree != "" {
		if j.old.unchanged(resp) {
			return nil, nil
		}
		// The bytes are the same, and the time is not: what is kept does not do.
		j.old = entry{}
		return s.attempt(ctx, j, p)
	}
	if err := check(resp); err != nil {
		return nil, err
	}
	p.begin(resp.ContentLength)
	return s.store(ctx, j, resp.Header, &watchedBody{Reader: resp.Body, seen: p.add})
}

// ask makes one request.
func (s *Source) ask(ctx context.Context, method string, j job) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, j.URL, nil)
	if err != nil {
		return nil, errors.New("the URL cannot be asked for") // the error would show its password
	}
	if req.Header, err = s.header(ctx, j, req.URL); err != nil {
		return nil, err
	}
	if method == http.MethodHead {
		// As net/http does for GET: a tag may be of one encoding.
		req.Header.Set("Accept-Encoding", "gzip")
	}
	client := *s.client
	client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		return s.redirected(j.request, req, via)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, broken(ctx, err)
	}
	return resp, nil
}

// broken tells failures of the net from others.
func broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var ue interface{ Unwrap() error }
	if errors.As(err, &ue) && ue.Unwrap() != nil {
		err = ue.Unwrap() // net/url's error repeats the URL
	}
	if permanent(err) {
		return err
	}
	return passing{error: err}
}

// check refuses answers that are no file.
func check(resp *http.Response) error {
	code := resp.StatusCode
	switch {
	case code >= 200 && code < 300 && code != http.StatusPartialContent:
		return nil
	case code >= 500, code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return passing{error: fmt.Errorf("invalid response status %s", resp.Status), after: retryAfter(resp.Header)}
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		name := origin.Of(resp.Request.URL).Names()[0]
		return fmt.Errorf("invalid response status %s; if it asks for credentials, lend them as the secret %s%s or %s%s", resp.Status, tokenSecret, name, headerSecret, name)
	}
	return fmt.Errorf("invalid response status %s", resp.Status)
}

// retryAfter is how long a server asks to wait, in seconds (RFC 9110, 10.2.3). A
// date is not looked at.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.ParseUint(h.Get("Retry-After"), 10, 63)
	if err != nil {
		return 0
	}
	if n > math.MaxInt64/uint64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Second
}

// errSame ends the writing of a tree that is there already.
var errSame = errors.New("the same file again")

// store makes a tree of an answer.
func (s *Source) store(ctx context.Context, j job, h http.Header, body *watchedBody) (*downloaded, error) {
	out := &downloaded{said: found{Filename: j.name(h), LastModified: lastModified(h)}}
	e := &out.entry
	e.found = out.said
	if j.as != nil {
		e.Filename, e.LastModified = j.as.Filename, j.as.LastModified
	}
	e.ETag, e.Since = validators(h)
	alg := digest.SHA256
	if j.Checksum != "" {
		alg = j.Checksum.Algorithm()
	}
	sum := alg.Digester()
	opt := store.NewOptions{Description: "http url " + redact(j.URL), TimesCount: true}
	ref, err := trees.Write(ctx, s.opt.Store, opt, func(dir string) error {
		f := trees.File{Name: e.Filename, Perm: j.Perm, UID: j.UID, GID: j.GID, Changed: e.LastModified}
		if err := f.Write(dir, store.WithinRoom(dir, e.Filename, body), sum.Hash()); err != nil {
			return err
		}
		e.Digest = sum.Digest()
		if e.same(j.old.found) {
			return errSame
		}
		return nil
	})
	switch {
	case err == nil:
		out.ref = ref
	case body.err != nil:
		return nil, broken(ctx, body.err)
	case errors.Is(err, errSame):
		e.Tree = j.old.Tree
	default:
		return nil, err
	}
	if e.Digest.Algorithm() == digest.SHA256 {
		out.said.Digest = e.Digest
	}
	return out, nil
}

// watchedBody tells what is read of a body, and keeps the error that ended it, to
// tell it from one of the disk.
type watchedBody struct {
	io.Reader
	seen func(n int)
	err  error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.seen(n)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// reportEvery is how often progress is reported: all reports are kept.
const reportEvery = 250 * time.Millisecond

// report tells how far a download is. It is silent until the first answer that is a
// file: a file that has not changed is no download.
type report struct {
	id             string
	progress       *solver.Progress
	started        time.Time
	last           time.Time
	current, total int64
}

func (p *report) begin(total int64) {
	if p.started.IsZero() {
		p.started = time.Now()
	}
	p.current, p.total = 0, max(total, 0)
	p.tell(nil)
}

func (p *report) add(n int) {
	p.current += int64(n)
	if time.Since(p.last) >= reportEvery {
		p.tell(nil)
	}
}

func (p *report) end(err error) {
	if p.started.IsZero() || err != nil {
		return
	}
	now := time.Now()
	p.tell(&now)
}

func (p *report) tell(completed *time.Time) {
	p.last = time.Now()
	p.progress.Status(client.VertexStatus{
		ID: p.id, Current: p.current, Total: p.total, Timestamp: p.last, Started: &p.started, Completed: completed,
	})
}
