package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/util/rootless/mountopts"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"
)

// mountsDir is the folder of the root below which everything of the store is mounted:
// only its owner can look into it. What is in there is a mount, or an empty folder.
const mountsDir = "mounts"

// Tree is what can be mounted: a *Ref, a *Mutable or a *CacheMount.
type Tree interface {
	executor.Mountable
	// owner is the store that the tree is of; nil for the empty tree.
	owner() *Store
}

func (r *Ref) owner() *Store {
	if r == nil {
		return nil
	}
	return r.s
}

func (m *Mutable) owner() *Store { return m.s }

func (c *CacheMount) owner() *Store { return c.s }

// MountLocal mounts a tree for this process, which is to work on its files, and
// returns the folder. Readonly is that of the tree's Mount. Unmount is called once,
// when nothing in the folder is open any more.
//
// What is in a tree comes from strangers: programs in it may be setuid, and there may
// be devices. So the folder is where no other user gets to, and neither means anything
// there. No other package mounts trees for itself.
func MountLocal(ctx context.Context, t Tree, readonly bool) (dir string, unmount func() error, err error) {
	return mountTree(ctx, t, readonly, false)
}

// ReadLocal is MountLocal for whoever looks at names and reads regular files, and nothing
// else: a tree that is one folder is read where it is, which costs no mount.
func ReadLocal(ctx context.Context, t *Ref) (dir string, unmount func() error, err error) {
	return mountTree(ctx, t, true, true)
}

// mountTree mounts a tree. AsItIs says that a folder will do as it is.
func mountTree(ctx context.Context, t Tree, readonly, asItIs bool) (dir string, unmount func() error, err error) {
	m, err := t.Mount(ctx, readonly)
	if err != nil {
		return "", nil, err
	}
	mounts, release, err := m.Mount()
	if err != nil {
		return "", nil, fmt.Errorf("mounting a tree: %w", err)
	}
	if dir, ok := folder(mounts); ok && asItIs {
		return dir, release, nil
	}
	parent := "" // of the empty tree, in which nothing is to be found
	if s := t.owner(); s != nil {
		parent = filepath.Join(s.root, mountsDir)
	}
	dir, off, err := mountAt(parent, mounts)
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("mounting a tree: %w", err), release())
	}
	return dir, func() error { return errors.Join(off(), release()) }, nil
}

// mounted calls use with a folder where mounts are mounted: see MountLocal.
func (s *Store) mounted(mounts []mount.Mount, use func(dir string) error) (err error) {
	dir, unmount, err := mountAt(filepath.Join(s.root, mountsDir), mounts)
	if err != nil {
		return fmt.Errorf("mounting a tree: %w", err)
	}
	defer func() { err = errors.Join(err, unmount()) }()
	return use(dir)
}

// mountAt mounts in a new folder in parent.
func mountAt(parent string, mounts []mount.Mount) (dir string, unmount func() error, err error) {
	if dir, ok := plain(mounts); ok {
		return dir, func() error { return nil }, nil
	}
	if dir, err = os.MkdirTemp(parent, "tree-"); err != nil {
		return "", nil, err
	}
	unmount = func() error {
		if err := mount.UnmountAll(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount of %s: %w", dir, err)
		}
		return os.Remove(dir) // it is empty, or still mounted
	}
	if userns.RunningInUserNS() {
		mounts, err = mountopts.FixUp(mounts)
	}
	if err == nil {
		err = mount.All(mounts, dir)
	}
	if err == nil && len(mounts) > 0 {
		err = restrict(dir)
	}
	if err != nil {
		return "", nil, errors.Join(err, unmount())
	}
	return dir, unmount, nil
}

// plain returns the directory that is mounted for writing as it is, where that must do:
// to mount takes rights that a process may not have.
func plain(mounts []mount.Mount) (string, bool) {
	if os.Geteuid() == 0 || len(mounts) == 1 && mounts[0].ReadOnly() {
		return "", false
	}
	return folder(mounts)
}

// folder returns the folder that a tree is, if it is one.
func folder(mounts []mount.Mount) (string, bool) {
	if len(mounts) != 1 || mounts[0].Type != "bind" && mounts[0].Type != "rbind" {
		return "", false
	}
	return mounts[0].Source, true
}

// restrict makes of a mount one where no program has more rights than who runs it, and
// no device is one.
func restrict(dir string) error {
	err := unix.MountSetattr(unix.AT_FDCWD, dir, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV})
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.12
		var st unix.Statfs_t
		if err = unix.Statfs(dir, &st); err == nil {
			const kept = unix.MS_RDONLY | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME
			err = unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV|uintptr(st.Flags)&kept, "")
		}
	}
	if err != nil {
		return &os.PathError{Op: "remount", Path: dir, Err: err}
	}
	return nil
}
