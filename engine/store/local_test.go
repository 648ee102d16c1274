package store_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// What is mounted to work on is out of reach for other users, also where the root lets
// everybody in and the mounts are seen: and no program in it is setuid, no device one.
func TestMountLocalIsPrivate(t *testing.T) {
	testenv.Root(t)
	for _, name := range snapshotters {
		t.Run(name, func(t *testing.T) {
			root := openDir(t)
			first, err := store.Open(t.Context(), store.Options{Root: root, Snapshotter: name})
			noError(t, err)
			noError(t, first.Close())
			noError(t, os.Chmod(root, 0o755))
			noError(t, os.Chmod(filepath.Join(root, "mounts"), 0o777)) // whoever did that
			s := openStore(t, store.Options{Root: root})
			one := write(t, s, nil, store.NewOptions{}, hostile(t, "one"))
			two := write(t, s, one, store.NewOptions{}, hostile(t, "two"))
			defer release(t, one, two)
			fresh, err := s.New(context.Background(), nil, store.NewOptions{})
			noError(t, err)
			defer func() { noError(t, fresh.Release(context.Background())) }()
			upon, err := s.New(context.Background(), two, store.NewOptions{})
			noError(t, err)
			defer func() { noError(t, upon.Release(context.Background())) }()

			for what, m := range map[string]struct {
				tree     store.Tree
				readonly bool
				names    []string
			}{
				"a layer":         {one, true, []string{"one"}},
				"two layers":      {two, true, []string{"one", "two"}},
				"a new tree":      {fresh, false, nil},
				"a tree upon one": {upon, false, []string{"one", "two"}},
				"to be read":      {upon, true, []string{"one", "two"}},
			} {
				dir, unmount, err := store.MountLocal(context.Background(), m.tree, m.readonly)
				noError(t, err)
				wantPrivate(t, what, dir)
				if !m.readonly {
					hostile(t, "new")(dir)
					m.names = append(m.names, "new")
				}
				for _, n := range m.names {
					wantHarmless(t, what, dir, n)
				}
				noError(t, unmount())
				if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s: its folder is left: %v", what, err)
				}
			}
		})
	}
}

// openDir is a directory that every user can look into.
func openDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "tenon-open-")
	noError(t, err)
	t.Cleanup(func() { noError(t, os.RemoveAll(dir)) })
	noError(t, os.Chmod(dir, 0o755))
	return dir
}

// hostile makes a readable file, a program that is setuid, and a device.
func hostile(t *testing.T, name string) func(dir string) {
	return func(dir string) {
		noError(t, os.Chmod(dir, 0o755))
		noError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755))
		noError(t, os.Chmod(filepath.Join(dir, name), 0o755|os.ModeSetuid))
		noError(t, unix.Mknod(filepath.Join(dir, name+"-null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	}
}

func wantPrivate(t *testing.T, what, dir string) {
	t.Helper()
	cmd := exec.Command("ls", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("%s: another user sees %q", what, out)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(dir))
	noError(t, err)
	if len(mounts) != 1 || !strings.Contains(mounts[0].Options, "nosuid") || !strings.Contains(mounts[0].Options, "nodev") {
		t.Errorf("%s: it is mounted as %+v", what, mounts)
	}
}

func wantHarmless(t *testing.T, what, dir, name string) {
	t.Helper()
	fi, err := os.Lstat(filepath.Join(dir, name))
	noError(t, err)
	if fi.Mode()&os.ModeSetuid == 0 {
		t.Errorf("%s: the tree's own mode is lost: %s", what, fi.Mode())
	}
	if f, err := os.Open(filepath.Join(dir, name+"-null")); err == nil {
		t.Errorf("%s: the device %s can be opened", what, f.Name())
	}
}
