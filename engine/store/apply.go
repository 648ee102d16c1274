package store

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	cfs "github.com/containerd/continuity/fs"
	"github.com/containerd/continuity/sysx"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// applyBlob unpacks a layer's blob, which may be laid out for Windows, over the tree of
// mounts, and returns the digest of its archive.
//
// All is written through the mounts, also those of overlayfs: so the kernel sees to
// it that a whiteout, a link, or a parent means the same with every snapshotter, and
// that nothing in an archive is taken for overlayfs's own notes.
func (s *Store) applyBlob(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, windows bool) (_ digest.Digest, err error) {
	ra, err := s.back.content.ReaderAt(ctx, desc)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, ra.Close()) }()
	r, err := compression.DecompressStream(content.NewReader(ra))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	digester := digest.Canonical.Digester()
	plain := io.TeeReader(until{ctx, r}, digester.Hash())
	err = s.mounted(mounts, func(root string) error { return applyLayer(ctx, root, plain, windows) })
	if err != nil {
		return "", err
	}
	// What is behind the archive's end is a part of the digest.
	if n, err := io.Copy(io.Discard, io.LimitReader(plain, maxTail)); err != nil {
		return "", err
	} else if n == maxTail {
		return "", fmt.Errorf("behind the end of the archive it goes on for more than %d MiB", maxTail>>20)
	}
	return digester.Digest(), nil
}

// maxTail is how much there may be behind an archive's end, which is padding.
const maxTail = 1 << 30

// until is read until ctx ends: a small blob may be very much when it is unpacked.
type until struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (u until) Read(p []byte) (int, error) {
	if err := context.Cause(u.ctx); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// The names that have a meaning in a layer: see the image specification.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	// metaPrefix begins what AUFS kept for itself.
	metaPrefix = ".wh..wh."
)

// applyLayer unpacks a layer's archive over the tree at root, as the image
// specification has it: a whiteout hides what is below the layer, and never what the
// layer itself has, wherever in the archive it stands, and a whiteout of nothing does
// nothing.
func applyLayer(ctx context.Context, root string, archived io.Reader, windows bool) error {
	l := &layerTree{root: root, top: &layerNode{}, windows: windows}
	_, err := archive.Apply(ctx, root, archived, archive.WithFilter(l.filter), archive.WithConvertWhiteout(l.entry))
	return err
}

// layerTree is what an archive has unpacked so far.
type layerTree struct {
	root    string
	top     *layerNode
	windows bool
}

// layerNode is a path that the layer has, or of which it has something below.
type layerNode struct {
	below map[string]*layerNode
	// entry is whether the archive has the path itself.
	entry bool
	// dir is the header of a directory, of which Apply sets the times when all is
	// unpacked.
	dir *tar.Header
}

// at returns the node of a path below the root, which it makes, and those above, if
// make is set. Otherwise it is nil for what the layer does not have.
func (l *layerTree) at(path string, make bool) *layerNode {
	n := l.top
	for name := range strings.SplitSeq(strings.TrimPrefix(path, l.root), "/") {
		if name == "" {
			continue
		}
		next := n.below[name]
		if next == nil {
			if !make {
				return nil
			}
			next = &layerNode{}
			if n.below == nil {
				n.below = map[string]*layerNode{}
			}
			n.below[name] = next
		}
		n = next
	}
	return n
}

// filter sees each header first. It says whether it is that of a file to be unpacked.
func (l *layerTree) filter(h *tar.Header) (bool, error) {
	if l.windows && !fromWindows(h) {
		return false, nil
	}
	if err := checkPaths(h); err != nil {
		return false, err
	}
	dir, base := filepath.Split(h.Name)
	for name := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(name, metaPrefix) {
			return false, nil
		}
		if strings.HasPrefix(name, whiteoutPrefix) {
			return false, fmt.Errorf("%q is below a whiteout", h.Name)
		}
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		if err := l.whiteout(dir, base); err != nil {
			return false, fmt.Errorf("whiteout %q: %w", h.Name, err)
		}
		return false, nil
	}
	if err := CleanHeader(h); err != nil {
		return false, err
	}
	err := CheckRoom(l.root, h.Name, h.Size) // with its holes, which are written, too
	return err == nil, err
}

// whiteout hides what is below the layer.
func (l *layerTree) whiteout(dir, base string) error {
	parent, err := cfs.RootPath(l.root, dir)
	if err != nil {
		return absent(err)
	}
	if fi, err := os.Lstat(parent); err != nil || !fi.IsDir() {
		return absent(err)
	}
	if base == whiteoutOpaque {
		return l.hideBelow(parent, l.at(parent, false))
	}
	if strings.HasPrefix(base, metaPrefix) {
		return nil
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return errors.New("it names no file")
	}
	path := filepath.Join(parent, name)
	return l.hide(path, l.at(path, false))
}

// absent is nil for what is not there.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}

// hide removes a path, but for what the layer has there.
func (l *layerTree) hide(path string, n *layerNode) error {
	if n == nil {
		return os.RemoveAll(path)
	}
	fi, err := os.Lstat(path)
	if err != nil || !fi.IsDir() {
		return absent(err)
	}
	if err := l.hideBelow(path, n); err != nil || n.entry {
		return err
	}
	// It is there because the layer has something in it, and is not the one that was
	// below: so it is as Apply makes those that no archive has.
	if err := clearXattrs(path); err != nil {
		return err
	}
	if err := os.Lchown(path, 0, 0); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

// hideBelow removes what is in a directory, but for what the layer has there.
func (l *layerTree) hideBelow(dir string, n *layerNode) error {
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		var child *layerNode
		if n != nil {
			child = n.below[name]
		}
		if err := l.hide(filepath.Join(dir, name), child); err != nil {
			return err
		}
	}
	return nil
}

func readNames(dir string) (names []string, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Readdirnames(-1)
}

// entry notes a path that is about to be unpacked. It is where Apply asks about
// whiteouts, of which there are none any more: filter has them.
func (l *layerTree) entry(h *tar.Header, path string) (bool, error) {
	n := l.at(path, true)
	n.entry = true
	if h.Typeflag != tar.TypeDir {
		n.forget()
		return true, nil
	}
	if n.dir != nil { // it comes twice, and the last counts
		n.dir.Name = "."
	}
	n.dir = h
	// The attributes of a directory that is there are replaced.
	if fi, err := os.Lstat(path); err != nil || !fi.IsDir() {
		return true, absent(err)
	}
	return true, clearXattrs(path)
}

// forget is called for what is not a directory any more. That the times are set of
// what was in it would be an error: so they become those of the root.
func (n *layerNode) forget() {
	if n.dir != nil {
		n.dir.Name = "."
		n.dir = nil
	}
	for _, c := range n.below {
		c.forget()
	}
	n.below = nil
}

// clearXattrs removes the extended attributes that are a file's own.
func clearXattrs(path string) error {
	found, err := xattrs(path)
	if err != nil {
		return err
	}
	for name := range found {
		if err := sysx.LRemovexattr(path, name); err != nil && !errors.Is(err, sysx.ENODATA) {
			return fmt.Errorf("extended attribute %s of %s: %w", name, path, err)
		}
	}
	return nil
}
