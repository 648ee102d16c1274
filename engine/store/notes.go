package store

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Overlayfs keeps notes in the trees that it is made of: extended attributes, and a
// character device 0:0 for a deleted file. So what a stranger has put into a tree must
// not look like one.

// overlayNotes begin the names of extended attributes by which an overlay does its work.
var overlayNotes = []string{"trusted.overlay.", "user.overlay.", "user.fuseoverlayfs."}

// KeepsXattr says whether an extended attribute is the file's own, and not one by which
// the machine it is on, or overlayfs, does its work. The others are neither taken into
// trees nor put into layers.
func KeepsXattr(name string) bool {
	return !hasAnyPrefix(name, overlayNotes) && !hasAnyPrefix(name, []string{"trusted.", "security.selinux", "security.ima", "security.evm"})
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// paxXattr is how the names of extended attributes begin in an archive's records.
const paxXattr = "SCHILY.xattr."

// CleanHeader takes from the header of an archive's file what a tree does not keep. It
// returns an error for a file that cannot be in one.
func CleanHeader(h *tar.Header) error {
	if err := checkPaths(h); err != nil {
		return err
	}
	//lint:ignore SA1019 a writer of archives adds what is left there
	h.Xattrs = nil // all are in the records, too
	for k := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, paxXattr); ok && !KeepsXattr(name) {
			delete(h.PAXRecords, k)
		}
	}
	if h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0 {
		return whiteoutDevice(h.Name)
	}
	return nil
}

// checkPaths refuses what no file can be called. To resolve such a path takes long.
func checkPaths(h *tar.Header) error {
	if n := max(len(h.Name), len(h.Linkname)); n > unix.PathMax {
		return fmt.Errorf("%.100q...: a path or a link of %d bytes; it can have %d", h.Name, n, unix.PathMax)
	}
	return nil
}

func whiteoutDevice(name string) error {
	return fmt.Errorf("%q is a character device 0:0, which stands for a deleted file on overlayfs: it cannot be in a tree", name)
}

// cleanTree takes from the files in a directory what overlayfs would take for its notes.
// It returns an error for a file that cannot be in a tree.
func cleanTree(ctx context.Context, dir string) error {
	if os.Geteuid() != 0 {
		return nil // who cannot mount overlays, and may not read what is in there
	}
	buf := make([]byte, 64<<10) // as many as the kernel lists of a file
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if d.Type()&fs.ModeCharDevice != 0 {
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				return &os.PathError{Op: "lstat", Path: path, Err: err}
			}
			if st.Rdev == 0 {
				return whiteoutDevice(strings.TrimPrefix(path, dir))
			}
		}
		n, err := unix.Llistxattr(path, buf)
		if errors.Is(err, unix.ENOTSUP) {
			return nil
		}
		if err != nil {
			return &os.PathError{Op: "listxattr", Path: path, Err: err}
		}
		for name := range bytes.SplitSeq(bytes.TrimSuffix(buf[:n], []byte{0}), []byte{0}) {
			if !hasAnyPrefix(string(name), overlayNotes) {
				continue
			}
			if err := unix.Lremovexattr(path, string(name)); err != nil {
				return fmt.Errorf("extended attribute %s: %w", name, &os.PathError{Op: "removexattr", Path: path, Err: err})
			}
		}
		return nil
	})
}
