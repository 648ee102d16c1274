package fileop

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"sync"

	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/go-archive"
	"github.com/moby/go-archive/chrootarchive"
	"github.com/moby/go-archive/compression"
	fscopy "github.com/tonistiigi/fsutil/copy"
)

// unpack unpacks a file of the tree at srcRoot into the directory dest of the tree at
// destRoot, if it is a tar archive, plain or compressed with gzip, bzip2, xz or zstd.
// It is told by its bytes, not by its name. It returns false for anything else.
//
// The destination is the root of what unpacks, so that names that climb, and links that
// were there before or came with the archive, end inside it.
func unpack(ctx context.Context, srcRoot, src, destRoot, dest string, u *fscopy.User, a *pb.FileActionCopy) (bool, error) {
	p, err := fs.RootPath(srcRoot, path.Clean(src))
	if err != nil {
		return false, err
	}
	if ok, err := isArchive(p); err != nil || !ok {
		return false, err
	}
	to, err := fs.RootPath(destRoot, path.Clean(dest))
	if err != nil {
		return false, err
	}
	if _, err := fscopy.MkdirAll(to, 0o755, chowner(u), timeOf(a.Timestamp)); err != nil {
		return false, err
	}
	f, err := os.Open(p)
	if err != nil {
		return false, err
	}
	defer f.Close()
	opt := &archive.TarOptions{BestEffortXattrs: true}
	if u != nil {
		opt.ChownOpts = &archive.ChownOpts{UID: u.UID, GID: u.GID}
	}
	dt, err := decompress(f)
	if err != nil {
		return false, err
	}
	// What is read is decompressed, so that an archive that never ends can be stopped. So
	// can what comes of it: a file with holes may be exabytes that nothing is read for.
	plain := &cancellable{ctx: ctx, r: dt}
	clean := newCleaned(plain, to)
	err = chrootarchive.UntarUncompressed(&cancellable{ctx: ctx, r: clean.ReadCloser}, to, opt)
	if refused := clean.Close(); refused != nil {
		err = refused
	}
	_ = plain.Close() // a decompressor that is not read to its end may complain
	if cause := context.Cause(ctx); cause != nil {
		return false, cause
	}
	if err != nil {
		return false, fmt.Errorf("unpacking %q: %w", src, err)
	}
	return true, nil
}

// isArchive says whether a file is a regular one that begins as a tar archive does.
func isArchive(p string) (bool, error) {
	fi, err := os.Lstat(p)
	if err != nil || !fi.Mode().IsRegular() {
		return false, nil // what it is will be seen by the copy
	}
	f, err := os.Open(p)
	if err != nil {
		return false, err
	}
	defer f.Close()
	dt, err := decompress(f)
	if err != nil {
		if _, ok := errors.AsType[*exec.Error](err); ok {
			return false, err
		}
		return false, nil // it only looked compressed
	}
	_, err = tar.NewReader(dt).Next()
	_ = dt.Close() // it was cut off
	return err == nil, nil
}

func decompress(f io.Reader) (io.ReadCloser, error) {
	dt, err := compression.DecompressStream(f)
	if missing, ok := errors.AsType[*exec.Error](err); ok {
		return nil, fmt.Errorf("it is compressed in a way that needs the program %s, which is not there: install it, or copy the file as it is: %w", missing.Name, err)
	}
	return dt, err
}

// cancellable ends with ctx, or when it is closed: whoever reads beside may do so later.
type cancellable struct {
	ctx context.Context

	mu     sync.Mutex // held while r is read or closed
	r      io.ReadCloser
	closed bool
}

// Read implements io.Reader.
func (c *cancellable) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, os.ErrClosed
	}
	return c.r.Read(p)
}

// Close implements io.Closer. It waits for a read that is under way.
func (c *cancellable) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.r.Close()
}
