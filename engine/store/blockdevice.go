package store

import (
	"os"
	"path/filepath"
	"syscall"

	"github.com/tonistiigi/fsutil"
	"golang.org/x/sys/unix"
)

// BlockDevices returns what fsutil's copier is to call of each file that it has copied
// to the tree at root (CopyInfo.ChangeFunc): it makes block devices of block devices,
// which the copier makes character devices of.
func BlockDevices(root string) fsutil.ChangeFunc {
	return func(_ fsutil.ChangeKind, path string, from os.FileInfo, err error) error {
		if err != nil || from == nil || from.Mode()&(os.ModeDevice|os.ModeCharDevice) != os.ModeDevice {
			return err
		}
		st, ok := from.Sys().(*syscall.Stat_t)
		if !ok {
			return nil
		}
		return blockDevice(filepath.Join(root, path), st.Rdev)
	}
}

// blockDevice puts a block device in the place of another file, as which it has the same
// owner, mode and times.
func blockDevice(path string, number uint64) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(number)); err != nil {
		return &os.PathError{Op: "mknod", Path: path, Err: err}
	}
	if err := os.Lchown(path, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Chmod(path, st.Mode&0o7777); err != nil { // after the owner, which takes bits away
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: path, Err: err}
	}
	return nil
}
