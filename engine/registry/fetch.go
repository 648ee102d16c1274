package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	remoteserrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxCuts bounds how often one blob is resumed, whatever progress is made.
const maxCuts = 64

// Fetcher reads blobs of ref's repository by digest, manifests included. Each Fetch
// finds a living session by its own context, so a Fetcher can be kept.
//
// A transfer that breaks off is resumed where it broke. What is read is not checked
// against its digest: who writes it into a content store does that.
func (r *Registry) Fetcher(ref string) remotes.Fetcher {
	return remotes.FetcherFunc(func(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
		return r.open(ctx, ref, desc)
	})
}

// Blob reads a blob of ref's repository of which only the digest is known. Who reads it
// checks that, and bounds what is read.
func (r *Registry) Blob(ctx context.Context, ref string, dgst digest.Digest) (io.ReadCloser, error) {
	return r.open(sized(ctx), ref, ocispec.Descriptor{MediaType: "application/octet-stream", Digest: dgst, Size: -1})
}

// Provider is a Fetcher that gives random access. It asks the registry for nothing
// before something is read, and lasts as long as r.
func (r *Registry) Provider(ref string) content.Provider {
	return provider{r: r, ref: ref}
}

type provider struct {
	r   *Registry
	ref string
}

// ReaderAt implements content.Provider. The reader ends with ctx.
func (p provider) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	b, err := p.r.open(ctx, p.ref, desc)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (r *Registry) open(ctx context.Context, ref string, desc ocispec.Descriptor) (*blob, error) {
	name, _, err := normalize(ref)
	if err != nil {
		return nil, err
	}
	if err := r.mayPull(ctx, name); err != nil {
		return nil, err
	}
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("fetch from %s: digest %q: %w", name, desc.Digest, err)
	}
	desc.URLs = nil // what a manifest names elsewhere is no reason to go there
	if desc.Size >= 0 {
		ctx = sized(ctx)
	}
	return &blob{ctx: quiet(ctx), r: r, ref: name, desc: desc}, nil
}

// blob reads one blob, in order or from anywhere.
type blob struct {
	ctx  context.Context
	r    *Registry
	ref  string
	desc ocispec.Descriptor

	mu       sync.Mutex // guards what follows
	rc       io.ReadCloser
	at       int64 // where rc is
	off      int64 // where Read is
	failures int   // in a row, without a byte between
	cuts     int   // in all
	noRanges bool  // the registry refuses them
}

var _ content.ReaderAt = (*blob)(nil)

// Size implements content.ReaderAt.
func (b *blob) Size() int64 { return b.desc.Size }

// Close implements content.ReaderAt.
func (b *blob) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.drop()
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.read(p, b.off)
	b.off += int64(n)
	return n, err
}

// Seek implements io.Seeker. It costs a request when the next byte is read.
func (b *blob) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += b.off
	case io.SeekEnd:
		offset += b.desc.Size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek in %s: negative position %d", b.desc.Digest, offset)
	}
	b.off = offset
	return offset, nil
}

// ReadAt implements io.ReaderAt. It is cheap where it goes on from the last.
func (b *blob) ReadAt(p []byte, off int64) (n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n < len(p) && err == nil {
		var m int
		m, err = b.read(p[n:], off+int64(n))
		n += m
	}
	if n == len(p) && err == io.EOF {
		err = nil
	}
	return n, err
}

// read reads some bytes at off, reconnecting as often as it may. b.mu is held.
func (b *blob) read(p []byte, off int64) (int, error) {
	if b.desc.Size > 0 {
		if off >= b.desc.Size {
			if err := b.drop(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		p = p[:min(int64(len(p)), b.desc.Size-off)]
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := b.attempt(p, off)
		if n > 0 {
			b.failures = 0
			if off+int64(n) == b.desc.Size {
				return n, b.drop() // others may be waiting for the connection
			}
			return n, nil // an error comes again, if it is one
		}
		switch {
		case err == nil:
			continue
		case err == io.EOF && b.desc.Size <= 0:
			return 0, io.EOF
		case err == io.EOF:
			err = fmt.Errorf("ended at byte %d of %d: %w", off, b.desc.Size, io.ErrUnexpectedEOF)
		}
		if err := b.resume(err); err != nil {
			return 0, explain("fetch "+b.desc.Digest.String()+" from", b.ref, err)
		}
	}
}

// attempt reads once from a connection that is at off. b.mu is held.
func (b *blob) attempt(p []byte, off int64) (int, error) {
	if b.rc != nil && b.noRanges && b.at > off {
		if err := b.drop(); err != nil {
			return 0, err
		}
	}
	if b.rc == nil {
		if err := b.connect(); err != nil {
			return 0, err
		}
	}
	if err := b.goTo(off); err != nil {
		return 0, err
	}
	n, err := b.rc.Read(p)
	b.at += int64(n)
	var status remoteserrors.ErrUnexpectedStatus
	if off > 0 && errors.As(err, &status) && status.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		if b.noRanges {
			return n, io.EOF // there is nothing at off
		}
		b.noRanges = true
		return n, b.drop()
	}
	return n, err
}

// connect makes rc, which asks the registry for something when it is read.
func (b *blob) connect() error {
	resolver, err := b.r.Resolver(b.ctx, b.ref)
	if err != nil {
		return err
	}
	f, err := resolver.Fetcher(b.ctx, b.ref)
	if err != nil {
		return err
	}
	b.rc, err = b.r.group.WrapFetcher(f, b.ref).Fetch(b.ctx, b.desc)
	b.at = 0
	return err
}

// goTo brings rc to off.
func (b *blob) goTo(off int64) error {
	if b.at == off {
		return nil
	}
	if b.noRanges {
		n, err := io.CopyN(io.Discard, b.rc, off-b.at)
		b.at += n
		return err
	}
	s, ok := b.rc.(io.Seeker)
	if !ok {
		return fmt.Errorf("cannot go to byte %d of %s", off, b.desc.Digest)
	}
	if _, err := s.Seek(off, io.SeekStart); err != nil {
		return err
	}
	b.at = off
	return nil
}

// resume waits before another attempt after err, or says that there is none.
func (b *blob) resume(err error) error {
	if derr := b.drop(); derr != nil && !broken(derr) {
		err = errors.Join(err, derr)
	}
	if b.ctx.Err() != nil {
		return context.Cause(b.ctx)
	}
	b.failures++
	b.cuts++
	if !resumable(b.ctx, err) {
		return err
	}
	if b.failures >= b.r.opt.Attempts || b.cuts >= maxCuts {
		return &exhausted{attempts: b.cuts, cause: err}
	}
	delay := backoff(b.failures)
	note(b.ctx, "%s: %v; resuming in %s\n", b.desc.Digest, err, delay)
	return b.r.opt.Wait(b.ctx, delay)
}

// drop closes the connection, and gives back its place. b.mu is held.
func (b *blob) drop() error {
	if b.rc == nil {
		return nil
	}
	err := b.rc.Close()
	b.rc = nil
	return err
}
