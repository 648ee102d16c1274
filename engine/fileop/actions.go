package fileop

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/solver/pb"
	fscopy "github.com/tonistiigi/fsutil/copy"
)

// timeOf is a time of LLB: nanoseconds since 1970, and -1 for none.
func timeOf(ns int64) *time.Time {
	if ns == -1 {
		return nil
	}
	t := time.Unix(ns/1e9, ns%1e9)
	return &t
}

// chowner gives what is made to u; nil leaves it as it is.
func chowner(u *fscopy.User) fscopy.Chowner {
	if u == nil {
		return nil
	}
	return func(*fscopy.User) (*fscopy.User, error) { return u, nil }
}

// place resolves a path of the tree at root up to its last component, which is not
// followed if it is a link.
func place(root, p string) (string, error) {
	dir, base := path.Split(path.Join("/", p))
	if base == "" {
		return "", &os.PathError{Op: "use", Path: root, Err: errors.New("it is the root of the tree")}
	}
	at, err := fs.RootPath(root, dir)
	if err != nil {
		return "", err
	}
	return filepath.Join(at, base), nil
}

// mkdir makes a directory. One that is there stays as it is.
func mkdir(root string, a *pb.FileActionMkDir, u *fscopy.User) error {
	p, err := fs.RootPath(root, path.Join("/", a.Path))
	if err != nil {
		return err
	}
	mode := os.FileMode(a.Mode) & 0o777
	if a.MakeParents {
		_, err := fscopy.MkdirAll(p, mode, chowner(u), timeOf(a.Timestamp))
		return err
	}
	if err := os.Mkdir(p, mode); err != nil {
		if fi, serr := os.Stat(p); serr == nil && fi.IsDir() {
			return nil
		}
		return err
	}
	// Whatever the umask is.
	if err := os.Chmod(p, mode); err != nil {
		return err
	}
	return settle(p, u, a.Timestamp)
}

// settle gives a file its owner and its time. It does not follow links.
func settle(p string, u *fscopy.User, timestamp int64) error {
	if err := fscopy.Chown(p, nil, chowner(u)); err != nil {
		return err
	}
	return fscopy.Utimes(p, timeOf(timestamp))
}

// mkfile makes a file, or replaces what is there unless that is a directory. What is
// there is never opened: it could be a device of this machine.
func mkfile(root string, a *pb.FileActionMkFile, u *fscopy.User) (err error) {
	p, err := fs.RootPath(root, path.Join("/", a.Path))
	if err != nil {
		return err
	}
	if fi, err := os.Lstat(p); err == nil && fi.IsDir() {
		return &os.PathError{Op: "replace", Path: p, Err: syscall.EISDIR}
	}
	f, err := os.CreateTemp(filepath.Dir(p), ".tenon-")
	if err != nil {
		return parentError(err, p)
	}
	tmp := f.Name()
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}()
	_, err = f.Write(a.Data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Chmod(tmp, os.FileMode(a.Mode)&0o777); err != nil {
		return err
	}
	if err := settle(tmp, u, a.Timestamp); err != nil {
		return err
	}
	return os.Rename(tmp, p)
}

// parentError is about the directory of p, in which nothing could be made.
func parentError(err error, p string) error {
	if errors.Is(err, iofs.ErrNotExist) {
		return fmt.Errorf("there is no directory %s: %w", filepath.Dir(p), iofs.ErrNotExist)
	}
	return err
}

// symlink makes a link. Its target is text, which nobody follows here.
func symlink(root string, a *pb.FileActionSymlink, u *fscopy.User) error {
	p, err := place(root, a.Newpath)
	if err != nil {
		return err
	}
	if err := os.Symlink(a.Oldpath, p); err != nil {
		if errors.Is(err, iofs.ErrExist) {
			return &os.PathError{Op: "symlink", Path: p, Err: syscall.EEXIST}
		}
		return parentError(err, p)
	}
	return settle(p, u, a.Timestamp)
}

// rm removes a path and all that is below it, or what a wildcard matches. Links are
// removed, not followed.
func rm(root string, a *pb.FileActionRm) error {
	if !a.AllowWildcard {
		return rmPath(root, a.Path, a.AllowNotFound)
	}
	matches, err := glob(root, a.Path, false)
	if err != nil {
		return err
	}
	for _, m := range matches {
		if err := rmPath(root, m, a.AllowNotFound); err != nil {
			return err
		}
	}
	return nil
}

func rmPath(root, name string, allowNotFound bool) error {
	p, err := place(root, name)
	if err != nil {
		return err
	}
	if !allowNotFound {
		if _, err := os.Lstat(p); err != nil {
			return err
		}
	}
	return os.RemoveAll(p)
}
