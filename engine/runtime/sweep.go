package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// sweep removes the containers of a process that was killed, and what it left in root.
func (e *Executor) sweep(ctx context.Context, root string) error {
	names, err := os.ReadDir(e.state.names)
	if err != nil {
		return err
	}
	ids := map[string]bool{}
	for _, n := range names {
		if !containerName.MatchString(n.Name()) { // no container ever had it
			if err := e.state.forget(n.Name()); err != nil {
				return err
			}
			continue
		}
		if err := e.remove(ctx, n.Name()); err != nil {
			return fmt.Errorf("removing the container %s of a killed build: %w", n.Name(), err)
		}
		ids[n.Name()] = true
	}
	if err := removeCgroups(ctx, ids); err != nil {
		return err
	}
	for id := range ids {
		if err := e.state.forget(id); err != nil {
			return err
		}
	}
	return e.sweepFiles(ctx, root)
}

// sweepFiles removes what a process of an earlier version left in root, which kept all
// of the state there. Files are removed by name: should a file system not come off,
// nothing in it is touched.
func (e *Executor) sweepFiles(ctx context.Context, root string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		path := filepath.Join(root, name)
		switch {
		case entry.IsDir() && strings.HasPrefix(name, "trial-"):
			err = os.RemoveAll(path)
		case entry.IsDir() && isBundle(path):
			err = e.sweepBundle(ctx, name, path)
		case entry.IsDir() && bundleName.MatchString(name):
			// It was about to become a bundle; if there is more in it, it is none.
			if err = os.Remove(path); errors.Is(err, unix.ENOTEMPTY) {
				err = nil
			}
		case strings.HasPrefix(name, "hosts.") || name == "runc-log.json":
			err = os.Remove(path)
		default:
			continue
		}
		if err != nil {
			return fmt.Errorf("removing what a killed build left in %s: %w", path, err)
		}
	}
	return nil
}

// containerName matches what runtimes accept as the name of a container.
var containerName = regexp.MustCompile(`^[\w+.-]+$`)

// bundleName matches the names of containers, which are random: see identity.NewID.
var bundleName = regexp.MustCompile(`^[0-9a-z]{25}$`)

func isBundle(path string) bool {
	_, err := os.Lstat(filepath.Join(path, "rootfs"))
	return err == nil
}

func (e *Executor) sweepBundle(ctx context.Context, id, path string) error {
	if err := e.remove(ctx, id); err != nil {
		return err
	}
	if err := removeCgroups(ctx, map[string]bool{id: true}); err != nil {
		return err
	}
	rootfs := filepath.Join(path, "rootfs")
	if err := mount.UnmountAll(rootfs, unix.MNT_DETACH); err != nil {
		return err
	}
	for _, p := range []string{filepath.Join(path, "config.json"), rootfs, path} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
