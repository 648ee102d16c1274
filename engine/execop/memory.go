package execop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/sys/user"
	"github.com/moby/sys/userns"
	"github.com/tenonbuild/tenon/engine/store"
	"golang.org/x/sys/unix"
)

// mountFunc is an executor.MountableRef with no mapping of users.
type mountFunc func() ([]mount.Mount, func() error, error)

// Mount implements executor.MountableRef.
func (f mountFunc) Mount() ([]mount.Mount, func() error, error) { return f() }

// IdentityMapping implements executor.MountableRef.
func (f mountFunc) IdentityMapping() *user.IdentityMapping { return nil }

// tmpfs is an empty file system in memory, bounded by size if that is not 0.
type tmpfs struct{ size int64 }

// Mount implements executor.Mountable.
func (f tmpfs) Mount(_ context.Context, readonly bool) (executor.MountableRef, error) {
	opts := []string{"nosuid"}
	if readonly {
		opts = append(opts, "ro")
	}
	if f.size > 0 {
		opts = append(opts, fmt.Sprintf("size=%d", f.size))
	}
	return mountFunc(func() ([]mount.Mount, func() error, error) {
		return []mount.Mount{{Type: "tmpfs", Source: "tmpfs", Options: opts}}, func() error { return nil }, nil
	}), nil
}

// secretFile is a secret's value as a file of a tmpfs, mounted below dir.
type secretFile struct {
	dir   string
	value []byte
	opt   *pb.SecretOpt
}

// Mount implements executor.Mountable.
func (f secretFile) Mount(context.Context, bool) (executor.MountableRef, error) {
	return mountFunc(f.mount), nil
}

// mount puts the value into a tmpfs of its own. Releasing takes both away.
func (f secretFile) mount() (_ []mount.Mount, release func() error, err error) {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("a place for secrets: %w", err)
	}
	dir, err := os.MkdirTemp(f.dir, "secret-")
	if err != nil {
		return nil, nil, fmt.Errorf("a place for a secret: %w", err)
	}
	flags := []string{"nodev", "nosuid"}
	if f.opt.Mode&0o111 == 0 {
		flags = append(flags, "noexec")
	}
	tmp := mount.Mount{Type: "tmpfs", Source: "tmpfs", Options: append([]string{"mode=0700"}, flags...)}
	if userns.RunningInUserNS() {
		tmp.Options = nil // some kernels refuse them there
	}
	// No value is written unless this is memory.
	if err := tmp.Mount(dir); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("a file system in memory for a secret: %w", err), os.Remove(dir))
	}
	release = func() error {
		if err := mount.Unmount(dir, unix.MNT_DETACH); err != nil {
			return err
		}
		return os.Remove(dir)
	}
	file := filepath.Join(dir, "value")
	if err := f.write(file); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("a secret's file: %w", err), release())
	}
	return []mount.Mount{{Type: "bind", Source: file, Options: append([]string{"ro", "rbind"}, flags...)}}, release, nil
}

func (f secretFile) write(file string) error {
	if err := os.WriteFile(file, f.value, 0o600); err != nil {
		return err
	}
	if err := os.Chown(file, int(f.opt.Uid), int(f.opt.Gid)); err != nil {
		return err
	}
	return os.Chmod(file, os.FileMode(f.opt.Mode&0o777))
}

func secretsDir(s *store.Store) string { return s.Path("secrets") }

// Sweep removes the mounts of secrets, and the sockets of agents, that a process left
// which was killed. It is called when a store was opened, before anything runs.
func Sweep(s *store.Store) error { return errors.Join(sweepSecrets(s), sweepAgents(s)) }

func sweepSecrets(s *store.Store) error {
	dir := secretsDir(s)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if err := mount.UnmountAll(path, unix.MNT_DETACH); err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		errs = errors.Join(errs, os.Remove(path))
	}
	return errs
}
