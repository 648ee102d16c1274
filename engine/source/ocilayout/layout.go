package ocilayout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/session"
)

// Layout is where content is: the layout known by name in a session. Where that one is not
// known, gone, or does not answer, it is that of a session that the work is for: what is read
// is checked by its digest.
type Layout struct {
	Sessions *session.Sessions
	Session  string // "": any that the work is for
	Name     string
}

// ReaderAt implements content.Provider. The reader ends with ctx.
func (l Layout) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	r := &reader{ctx: ctx, layout: l, desc: desc}
	if _, err := r.read(l.Session, 0, 0); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// explain says which layout an error is about.
func (l Layout) explain(ctx context.Context, err error) error {
	_, named := l.Sessions.Get(l.Session)
	if _, other := l.Sessions.Of(ctx); named != nil && other != nil {
		return fmt.Errorf("OCI layout %q: the client that has it is gone: %w", l.Name, err)
	}
	return fmt.Errorf("OCI layout %q: %w", l.Name, err)
}

// open opens content in the layout of a session.
func (l Layout) open(ctx context.Context, s session.Session, desc ocispec.Descriptor) (content.ReaderAt, error) {
	c, err := s.Layout(ctx, l.Name)
	if err != nil {
		return nil, err
	}
	ra, err := c.ReaderAt(ctx, desc)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("it does not have %s: it is incomplete, or the digest is another image's: %w", desc.Digest, err)
	}
	return ra, err
}

// reader reads a blob of a layout from a session that answers.
type reader struct {
	ctx    context.Context
	layout Layout
	desc   ocispec.Descriptor

	mu   sync.Mutex // guards what follows
	from opened     // what was read last
	all  []content.ReaderAt
}

var _ content.ReaderAt = (*reader)(nil)

// opened is the blob in the layout of one session.
type opened struct {
	content.ReaderAt
	session string
}

// piece is what was read. It is an io.Closer, so that what was opened for it lasts, or is
// closed where nobody reads on: see session.Ask.
type piece struct {
	of    opened
	fresh bool // opened for this piece
	p     []byte
	err   error // io.EOF, or nil
}

// Close implements io.Closer.
func (x piece) Close() error {
	if !x.fresh {
		return nil
	}
	return x.of.Close()
}

// read reads n bytes at off from the session of an ID, or from another where it does not
// answer. Each has room of its own to read into: one that was given up may go on.
func (r *reader) read(id string, n int, off int64) (piece, error) {
	r.mu.Lock()
	from := r.from
	r.mu.Unlock()
	x, err := session.AskFrom(r.ctx, r.layout.Sessions, id, func(ctx context.Context, s session.Session) (piece, error) {
		x := piece{of: from, p: make([]byte, n)}
		if from.ReaderAt == nil || from.session != s.ID() {
			ra, err := r.layout.open(ctx, s, r.desc)
			if err != nil {
				return piece{}, err
			}
			x.of, x.fresh = opened{ra, s.ID()}, true
		}
		if n == 0 {
			return x, nil
		}
		got, err := x.of.ReadAt(x.p, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return piece{}, errors.Join(err, x.Close())
		}
		x.p, x.err = x.p[:got], err
		return x, nil
	})
	if err != nil {
		return piece{}, r.layout.explain(r.ctx, err)
	}
	if x.fresh {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.from, r.all = x.of, append(r.all, x.of.ReaderAt)
	}
	return x, nil
}

// ReadAt implements io.ReaderAt.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	id := r.from.session
	r.mu.Unlock()
	x, err := r.read(id, len(p), off)
	if err != nil {
		return 0, err
	}
	return copy(p, x.p), x.err
}

// Size implements content.ReaderAt.
func (r *reader) Size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.from.Size()
}

// Close implements content.ReaderAt.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, ra := range r.all {
		err = errors.Join(err, ra.Close())
	}
	r.all = nil
	return err
}
