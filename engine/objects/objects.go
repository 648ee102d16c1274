// Package objects speaks with stores of objects: S3, Azure's blobs, the cache of GitHub
// Actions, and what is compatible with these. Each is a handful of HTTP requests, which all
// go the same way: answers are bounded, a server that stalls is cut off, what may pass is
// tried again, and redirects are not followed, so that credentials reach only the host
// that they are for.
package objects

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Store is a store of objects, which have keys.
type Store interface {
	// Get reads an object from an offset. There is none: errdefs.ErrNotFound.
	Get(ctx context.Context, key string, offset int64) (*Object, error)
	// Have says which of the objects are there, and since when, if that is known. It asks as
	// little as the store allows.
	Have(ctx context.Context, keys []string) (map[string]time.Time, error)
	// Put writes an object that is the same whoever writes it. One that is there is no error.
	Put(ctx context.Context, key string, b *Body) error
	// Replace writes an object in place of what it was.
	Replace(ctx context.Context, key string, b *Body) error
}

// Toucher is a Store that can make an object new, for whoever removes old ones.
type Toucher interface {
	Touch(ctx context.Context, key string, size int64) error
}

// Object is an object while it is read.
type Object struct {
	io.ReadCloser
	// Modified is when it was written, if the store says so.
	Modified time.Time
}

// Body is what is written. It is checked as it is read: of a body that is not what it
// should be, the end is never given.
type Body struct {
	from   io.ReaderAt
	size   int64
	digest digest.Digest

	mu   sync.Mutex // guards what follows
	hash hash.Hash
	seen int64
}

// errDamaged says that a body is not what it should be.
var errDamaged = errors.New("it is damaged")

// NewBody is a body of size bytes with this digest, of sha256.
func NewBody(from io.ReaderAt, size int64, dgst digest.Digest) (*Body, error) {
	if err := dgst.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", dgst, err)
	}
	if dgst.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("digest %s: only those of sha256 go to stores of objects", dgst)
	}
	return &Body{from: from, size: size, digest: dgst, hash: sha256.New()}, nil
}

// section reads a part. Parts are read one after the other; one may be read again.
func (b *Body) section(off, n int64) io.ReadCloser {
	return io.NopCloser(io.NewSectionReader(b, off, n))
}

// ReadAt implements io.ReaderAt.
func (b *Body) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.from.ReadAt(p[:max(0, min(int64(len(p)), b.size-off))], off)
	b.mu.Lock()
	defer b.mu.Unlock()
	if from := b.seen - off; from >= 0 && from < int64(n) {
		b.hash.Write(p[from:n])
		b.seen += int64(n) - from
	}
	if off+int64(n) < b.size {
		return n, err
	}
	if b.seen != b.size {
		return 0, fmt.Errorf("%s is not read in order", b.digest)
	}
	if got := digest.NewDigest(digest.SHA256, b.hash); got != b.digest {
		return 0, fmt.Errorf("%s: %w: its digest is %s", b.digest, errDamaged, got)
	}
	return n, err
}
