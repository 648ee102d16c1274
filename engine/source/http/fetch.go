package http

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/store"
)

// fetch has the file of r in the store, and tells what it is: from what is kept, if
// the server says that it is the same.
func (s *Source) fetch(ctx context.Context, r request) (found, error) {
	old, ref := s.kept(ctx, r)
	got, err := s.download(ctx, job{request: r, old: old})
	if err == nil && (got == nil || got.ref == nil) { // it is the same
		f := old.found
		if got != nil {
			f, err = got.entry.found, s.keep(r, got)
		}
		return f, s.hold(ctx, ref, err)
	}
	if err != nil {
		return found{}, drop(ctx, ref, err)
	}
	return got.entry.found, s.hold(ctx, got.ref, drop(ctx, ref, s.keep(r, got)))
}

// hold has the build hold a tree; without one, or after err, it is released.
func (s *Source) hold(ctx context.Context, ref *store.Ref, err error) error {
	if err == nil && s.holds.Add(ctx, ref) {
		return nil
	}
	return drop(ctx, ref, err)
}

// keep notes what was downloaded, for later builds. Nobody asks for an upload again.
func (s *Source) keep(r request, got *downloaded) error {
	if got.ref != nil {
		got.entry.Tree = got.ref.ID()
	}
	if r.upload() {
		return nil
	}
	return s.index.put(r.key(), got.entry)
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
		if e.same(want) {
			return ref, nil
		}
		if err := drop(ctx, ref, nil); err != nil {
			return nil, err
		}
	}
	got, err := s.download(ctx, job{request: r, as: &want})
	if err != nil {
		return nil, err
	}
	if got.entry.Digest != want.Digest {
		return nil, drop(ctx, got.ref, &MismatchError{URL: redact(r.URL), Want: want.Digest, Got: got.entry.Digest, Pinned: r.Checksum != ""})
	}
	// What is kept is as it is without a checksum.
	if got.entry.same(got.said) {
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
