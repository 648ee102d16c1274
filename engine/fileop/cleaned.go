package fileop

import (
	"archive/tar"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/moby/buildkit/util/converter/tarconverter"
	"github.com/tenonbuild/tenon/engine/store"
)

// cleaned is an archive without what would be taken for notes of overlayfs, or of the
// machine, in the tree that it is unpacked into.
type cleaned struct {
	io.ReadCloser
	mu      sync.Mutex // guards refused
	refused error
}

func newCleaned(r io.Reader) *cleaned {
	c := &cleaned{}
	c.ReadCloser = tarconverter.NewReader(r, c.header)
	return c
}

// paxXattr is how the names of extended attributes begin in an archive's records.
const paxXattr = "SCHILY.xattr."

func (c *cleaned) header(h *tar.Header) {
	//lint:ignore SA1019 the writer of archives adds what is left there
	h.Xattrs = nil // all are in the records, too
	for k := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, paxXattr); ok && !store.KeepsXattr(name) {
			delete(h.PAXRecords, k)
		}
	}
	if h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.refused == nil {
			c.refused = fmt.Errorf("%q is a character device 0:0, which stands for a deleted file on overlayfs: it cannot be in a tree", h.Name)
		}
		h.Typeflag = tar.TypeFifo // so that it harms nothing until the end
	}
}

// Close ends the reading, and says what was found that cannot be unpacked.
func (c *cleaned) Close() error {
	_ = c.ReadCloser.Close() // of a pipe, which has no errors
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}
