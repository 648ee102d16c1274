package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	cfs "github.com/containerd/continuity/fs"
	"github.com/containerd/continuity/sysx"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/snapshot"
	fscopy "github.com/tonistiigi/fsutil/copy"
	"golang.org/x/sys/unix"
)

// unseenTree makes a tree of the files that differ between the trees of a piece, and
// of which BuildKit's Merge does not see that they do: so that what it makes has what
// the layers have. It returns the snapshot's key, "" if there is no such file. The
// lease of ctx holds it. Of a directory whose extended attributes alone differ nothing
// is said: only the layer has them.
func (s *Store) unseenTree(ctx context.Context, p piece, d snapshot.Diff) (key string, err error) {
	if d.Lower == "" || d.Upper == "" {
		return "", nil
	}
	lower, releaseLower, err := s.mountsOfKey(ctx, p.lower, d.Lower)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, releaseLower()) }()
	upper, releaseUpper, err := s.mountsOfKey(ctx, p.upper, d.Upper)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, releaseUpper()) }()
	err = s.mounted(lower, func(base string) error {
		return s.mounted(upper, func(root string) error {
			var names []string
			u := unseen{changed: s.changedIn(p, lower, upper, root), root: root, base: base, sameTime: true}
			err := u.changes(ctx, func(_ cfs.ChangeKind, name string, fi os.FileInfo, _ error) error {
				if !fi.IsDir() {
					names = append(names, name)
				}
				return nil
			})
			if err != nil || len(names) == 0 {
				return err
			}
			key, err = s.copyTree(ctx, root, names)
			return err
		})
	})
	return key, err
}

// copyTree makes a snapshot of files below root, which the lease of ctx holds. They
// are sorted, as a walk finds them.
func (s *Store) copyTree(ctx context.Context, root string, names []string) (string, error) {
	s.garbage.Add(1) // as soon as there is a merge with it
	key := "unseen-" + identity.NewID()
	if err := s.back.snaps.Prepare(ctx, key+"-new", ""); err != nil {
		return "", err
	}
	mounts, err := s.active(ctx, key+"-new", false)
	if err != nil {
		return "", err
	}
	err = s.mounted(mounts, func(dir string) error {
		var dirs []string // after those they are in
		for _, name := range names {
			made, err := copyParents(root, dir, filepath.Dir(name))
			if err != nil {
				return err
			}
			dirs = append(dirs, made...)
			if err := fscopy.Copy(ctx, root, name, dir, name, fscopy.WithChangeNotifier(BlockDevices(dir))); err != nil {
				return fmt.Errorf("copying %s: %w", name, err)
			}
		}
		for i := len(dirs) - 1; i >= 0; i-- { // after what is in them, which changes it
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(root, dirs[i]), &st); err != nil {
				return err
			}
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, dirs[i]), []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return key, s.back.snaps.Commit(ctx, key, key+"-new")
}

// copyParents makes a directory in to, and those it is in, as they are in from. It
// returns those that it has made, the topmost first.
func copyParents(from, to, name string) (made []string, err error) {
	if name == "/" || name == "." {
		return nil, nil
	}
	if _, err := os.Lstat(filepath.Join(to, name)); !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if made, err = copyParents(from, to, filepath.Dir(name)); err != nil {
		return nil, err
	}
	src, dst := filepath.Join(from, name), filepath.Join(to, name)
	var st unix.Stat_t
	if err := unix.Lstat(src, &st); err != nil {
		return nil, &os.PathError{Op: "lstat", Path: src, Err: err}
	}
	if err := os.Mkdir(dst, 0o700); err != nil {
		return nil, err
	}
	if err := os.Lchown(dst, int(st.Uid), int(st.Gid)); err != nil {
		return nil, err
	}
	if err := unix.Chmod(dst, st.Mode&0o7777); err != nil { // after the owner, which takes bits away
		return nil, &os.PathError{Op: "chmod", Path: dst, Err: err}
	}
	attrs, err := xattrs(src)
	if err != nil {
		return nil, err
	}
	for k, v := range attrs {
		if err := sysx.LSetxattr(dst, k, []byte(v), 0); err != nil {
			return nil, fmt.Errorf("extended attribute %s of %s: %w", k, dst, err)
		}
	}
	return append(made, name), nil
}
