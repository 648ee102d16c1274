package fileop

import (
	"archive/tar"
	"io"
	"sync"

	"github.com/moby/buildkit/util/converter/tarconverter"
	"github.com/tenonbuild/tenon/engine/store"
)

// cleaned is an archive without what would be taken for notes of overlayfs, or of the
// machine, in the tree that it is unpacked into, and for which there is room. It ends
// with the first file that cannot be unpacked.
type cleaned struct {
	io.ReadCloser
	dir     string
	mu      sync.Mutex // guards refused
	refused error
}

func newCleaned(r io.Reader, dir string) *cleaned {
	c := &cleaned{dir: dir}
	c.ReadCloser = tarconverter.NewReader(&unlessRefused{r, c}, c.header)
	return c
}

// unlessRefused is read until a file has been refused.
type unlessRefused struct {
	io.Reader
	c *cleaned
}

// Read implements io.Reader.
func (u *unlessRefused) Read(p []byte) (int, error) {
	u.c.mu.Lock()
	err := u.c.refused
	u.c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}

func (c *cleaned) header(h *tar.Header) {
	err := store.CleanHeader(h)
	if err == nil {
		err = store.CheckRoom(c.dir, h.Name, h.Size)
	}
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = err
	}
	*h = tar.Header{Name: "refused", Typeflag: tar.TypeFifo} // in whose place there is nothing to read
}

// Close ends the reading, and says what was found that cannot be unpacked.
func (c *cleaned) Close() error {
	_ = c.ReadCloser.Close() // of a pipe, which has no errors
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}
