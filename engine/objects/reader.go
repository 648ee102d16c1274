package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/containerd/v2/core/content"

	"github.com/tenonbuild/tenon/engine/registry"
)

// NewReader reads an object of which size bytes are expected. What is read is not checked.
func NewReader(ctx context.Context, s Store, key string, size int64) content.ReaderAt {
	return &reader{ctx: ctx, store: s, key: key, size: size}
}

// reader is an object that is read from where it was left.
type reader struct {
	ctx   context.Context
	store Store
	key   string
	size  int64

	mu     sync.Mutex // guards what follows
	open   io.ReadCloser
	at     int64
	closed bool
}

// Size implements content.ReaderAt.
func (r *reader) Size() int64 { return r.size }

// ReadAt implements content.ReaderAt. A connection that ends early is made again from
// there, as long as that brings something.
func (r *reader) ReadAt(p []byte, off int64) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, errors.New("the object is closed")
	}
	if off >= r.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), r.size-off)]
	for fruitless := 0; n < len(want); {
		err := r.from(off + int64(n))
		if err != nil {
			return n, fmt.Errorf("%s: %w", r.key, err)
		}
		got, err := r.read(want[n:])
		if n += got; got > 0 {
			fruitless = 0
		}
		if err == nil {
			continue
		}
		var stall *registry.StallError
		if fruitless++; fruitless == 2 || r.ctx.Err() != nil || errors.As(err, &stall) {
			return n, fmt.Errorf("%s: %d of %d bytes: %w", r.key, off+int64(n), r.size, err)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// from has it open at an offset.
func (r *reader) from(off int64) error {
	if r.open != nil && r.at == off {
		return nil
	}
	r.drop()
	o, err := r.store.Get(r.ctx, r.key, off)
	if err != nil {
		return err
	}
	r.open, r.at = o, off
	return nil
}

// read reads some of it. After an error it is closed.
func (r *reader) read(p []byte) (int, error) {
	n, err := r.open.Read(p)
	r.at += int64(n)
	if n == len(p) {
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		r.drop()
	}
	return n, err
}

func (r *reader) drop() {
	if r.open != nil {
		_ = r.open.Close() // it was only read
	}
	r.open = nil
}

// Close implements content.ReaderAt.
func (r *reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop()
	r.closed = true
	return nil
}
