package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// unmountStale unmounts what a process that died had mounted of a root, which is
// ours now: so nobody else can be using it. Only temporary directories of the
// libraries that mount for us are looked at, and only they are removed, empty.
func unmountStale(root string) error {
	all, err := mountinfo.GetMounts(nil)
	if err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	device, inside := placeOf(real, all)
	for _, m := range all {
		base := filepath.Base(m.Mountpoint)
		if !strings.HasPrefix(base, "containerd-mount") && !strings.HasPrefix(base, "buildkit-mount") {
			continue
		}
		bind := [2]int{m.Major, m.Minor} == device && strings.HasPrefix(m.Root, inside+"/")
		if !bind && !strings.Contains(m.VFSOptions, "dir="+root+"/") {
			continue
		}
		if err := mount.UnmountAll(m.Mountpoint, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount of %s: %w", m.Mountpoint, err)
		}
		if err := os.Remove(m.Mountpoint); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// placeOf returns the file system that a directory is on, and its path in there.
func placeOf(dir string, all []*mountinfo.Info) (device [2]int, inside string) {
	var best *mountinfo.Info
	for _, m := range all {
		below := m.Mountpoint == "/" || dir == m.Mountpoint || strings.HasPrefix(dir, m.Mountpoint+"/")
		if below && (best == nil || len(m.Mountpoint) >= len(best.Mountpoint)) {
			best = m
		}
	}
	if best == nil {
		return device, dir
	}
	rel := strings.TrimPrefix(dir, strings.TrimSuffix(best.Mountpoint, "/"))
	return [2]int{best.Major, best.Minor}, filepath.Join(best.Root, rel)
}
