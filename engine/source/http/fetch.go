package http

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
)

// fetch has the file of r in the store, and tells what it is: from what is kept, if
// the server says that it is the same.
func (s *Source) fetch(ctx context.Context, r request) (found, error) {
	header, err := s.header(ctx, r)
	if err != nil {
		return found{}, err
	}
	old, ref := s.kept(ctx, r)
	if ref != nil {
		ask(header, old)
	}
	got, err := s.download(ctx, job{request: r, header: header, old: old})
	if err != nil || got == nil {
		return old.found, drop(ctx, ref, err) // nil: it is not modified
	}
	return got.entry.found, drop(ctx, got.ref, drop(ctx, ref, s.keep(r, got)))
}

// keep notes what was downloaded, for later builds.
func (s *Source) keep(r request, got *downloaded) error {
	if got.ref != nil {
		got.entry.Tree = got.ref.ID()
	}
	return s.index.put(r.key(), got.entry)
}

// ask makes a request one for what is not as it was.
func ask(header http.Header, old entry) {
	if old.ETag != "" {
		header.Set("If-None-Match", old.ETag)
	}
	if old.Since != "" {
		header.Set("If-Modified-Since", old.Since)
	}
}

// drop releases a tree after err, also if the build was cancelled.
func drop(ctx context.Context, ref *store.Ref, err error) error {
	return errors.Join(err, ref.Release(context.WithoutCancel(ctx)))
}

// kept returns what was fetched for r before, if the store still has it. The Ref is
// the caller's; nil if there is none.
func (s *Source) kept(ctx context.Context, r request) (entry, *store.Ref) {
	e, ok := s.index.get(r.key())
	if !ok {
		return entry{}, nil
	}
	ref, err := s.opt.Store.Get(ctx, e.Tree)
	if err != nil || ref == nil {
		return entry{}, nil // pruned: fetch it again
	}
	s.index.used(r.key())
	return e, ref
}

// snapshot returns the tree of a file that is known, downloading it if the store
// does not have it (any more).
func (s *Source) snapshot(ctx context.Context, r request, want found) (*store.Ref, error) {
	if want.Tree != "" {
		if ref, err := s.opt.Store.Get(ctx, want.Tree); err == nil && ref != nil {
			return ref, nil
		}
	}
	if e, ref := s.kept(ctx, r); ref != nil {
		if e.Digest == want.Digest && e.Filename == want.Filename {
			return ref, nil
		}
		if err := drop(ctx, ref, nil); err != nil {
			return nil, err
		}
	}
	header, err := s.header(ctx, r)
	if err != nil {
		return nil, err
	}
	got, err := s.download(ctx, job{request: r, as: want.Filename, header: header})
	if err != nil {
		return nil, err
	}
	if got.entry.Digest != want.Digest {
		return nil, drop(ctx, got.ref, &MismatchError{URL: redact(r.URL), Want: want.Digest, Got: got.entry.Digest, Pinned: r.Checksum != ""})
	}
	// What is kept is as it is without a checksum.
	if got.entry.Filename == got.named && got.entry.Digest.Algorithm() == digest.SHA256 {
		if err := s.keep(r, got); err != nil {
			return nil, drop(ctx, got.ref, err)
		}
	}
	return got.ref, nil
}

// MismatchError says that a file is not what it should be.
type MismatchError struct {
	URL       string
	Want, Got digest.Digest
	// Pinned: the checksum was asked for. Otherwise the file changed during a build.
	Pinned bool
}

func (e *MismatchError) Error() string {
	if !e.Pinned {
		return fmt.Sprintf("the file changed while it was built with: it was %s and is now %s; build again", e.Want, e.Got)
	}
	return fmt.Sprintf("digest mismatch: the file is %s, and should be %s; if the file has rightly changed, change the checksum", e.Got, e.Want)
}

// Secrets that are tried where none is named, followed by the host's name.
const (
	headerSecret = "HTTP_AUTH_HEADER_"
	tokenSecret  = "HTTP_AUTH_TOKEN_"
)

// header makes the header of a request, with what the session has to authenticate.
func (s *Source) header(ctx context.Context, r request) (http.Header, error) {
	h := http.Header{}
	h.Set("User-Agent", "tenon")
	for _, f := range r.Header {
		h.Set(f.Name, f.Value)
	}
	if r.Secret != "" {
		v, err := s.secret(ctx, r.Secret)
		if err != nil {
			return nil, fmt.Errorf("authorization: %w; lend it with --secret id=%s,src=FILE", err, r.Secret)
		}
		return h, authorize(h, r.Secret, v)
	}
	u, err := url.Parse(r.URL)
	if err != nil {
		return h, nil
	}
	for _, prefix := range []string{headerSecret, tokenSecret} {
		name := prefix + u.Hostname()
		v, err := s.secret(ctx, name)
		if errors.Is(err, session.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("authorization: %w", err)
		}
		if prefix == tokenSecret {
			v = "Bearer " + v
		}
		return h, authorize(h, name, v)
	}
	return h, nil
}

func authorize(h http.Header, name, value string) error {
	value = strings.TrimRight(value, "\r\n") // what an editor or echo puts there
	if strings.ContainsAny(value, "\r\n\x00") {
		return fmt.Errorf("the secret %s has several lines, which a header cannot have", name)
	}
	h.Set("Authorization", value)
	return nil
}

func (s *Source) secret(ctx context.Context, name string) (string, error) {
	sess, err := s.opt.Sessions.Of(ctx)
	if err != nil {
		return "", err
	}
	dt, err := sess.Secret(ctx, name)
	return string(dt), err
}
