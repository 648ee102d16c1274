package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// sharedMounts are mounts for several users at a time: an overlay cannot be mounted
// twice for writing, so it is mounted once, and users mount the directory.
type sharedMounts struct {
	dir string
	// mu guards uses, and is held while something is mounted or unmounted.
	mu   sync.Mutex
	uses map[string]int // by name
}

// openSharedMounts begins with what a process that died has left: it is unmounted.
func openSharedMounts(dir string) (*sharedMounts, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	x := &sharedMounts{dir: dir, uses: map[string]int{}}
	for _, e := range entries {
		if err := x.unmount(e.Name()); err != nil {
			return nil, err
		}
	}
	return x, makePrivate(dir)
}

// open mounts what has this name, if it is not mounted yet, and returns the mount
// of the directory it is mounted on. Release is called once.
func (x *sharedMounts) open(name string, mounts []mount.Mount, readonly bool) (_ []mount.Mount, release func() error, _ error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	dir := filepath.Join(x.dir, name)
	if x.uses[name] == 0 {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, nil, err
		}
		if err := mount.All(mounts, dir); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("mount of %s: %w", name, err), x.unmount(name))
		}
	}
	x.uses[name]++
	option := "rw"
	if readonly {
		option = "ro"
	}
	bind := mount.Mount{Type: "bind", Source: dir, Options: []string{"rbind", option}}
	return []mount.Mount{bind}, func() error { return x.release(name) }, nil
}

func (x *sharedMounts) release(name string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.uses[name]--; x.uses[name] > 0 {
		return nil
	}
	delete(x.uses, name)
	return x.unmount(name)
}

// unmount leaves nothing of a name. The directory is removed only when it is empty,
// which it is if it is not a mount any more.
func (x *sharedMounts) unmount(name string) error {
	dir := filepath.Join(x.dir, name)
	if err := mount.UnmountAll(dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount of %s: %w", dir, err)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
