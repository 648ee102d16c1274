package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// checkout writes a commit into the empty folder dir.
func (b *bare) checkout(ctx context.Context, dir string, r resolved, commit string) (err error) {
	if b.spec.asBundle {
		err = b.writeBundle(ctx, dir, r, commit)
	} else {
		err = b.checkoutFiles(ctx, dir, r, commit)
	}
	if err == nil && b.spec.openFiles {
		err = openFiles(dir)
	}
	if err == nil && b.spec.mtimeCommit {
		err = b.setTimes(ctx, dir, commit)
	}
	return err
}

func (b *bare) checkoutFiles(ctx context.Context, dir string, r resolved, commit string) (err error) {
	tree := dir
	if b.spec.subdir != "" {
		if tree, err = os.MkdirTemp(dir, ".checkout-"); err != nil {
			return err
		}
	}
	var repo string
	if b.spec.keepsGit() {
		repo = filepath.Join(tree, ".git")
		err = b.clone(ctx, repo, tree, r, commit)
	} else {
		repo, err = b.borrow(ctx, tree, commit)
	}
	if err != nil {
		return err
	}
	if !b.spec.skipSubmodules {
		if err := b.submodules(ctx, repo, tree); err != nil {
			return err
		}
	}
	if !b.spec.keepsGit() {
		if err := removeGitFiles(tree); err != nil {
			return err
		}
	}
	if b.spec.subdir != "" {
		return liftSubdir(dir, filepath.Base(tree), b.spec.subdir)
	}
	return nil
}

// borrow writes a commit into tree by a repository outside of it that borrows the
// objects of the bare one, and returns that repository. So nothing of one checkout,
// such as where its submodules are, is there for the next.
func (b *bare) borrow(ctx context.Context, tree, commit string) (string, error) {
	tmp, err := b.temp()
	if err != nil {
		return "", err
	}
	repo := filepath.Join(tmp, "checkout")
	if err := os.RemoveAll(repo); err != nil {
		return "", err
	}
	if err := b.initTree(ctx, repo, tree); err != nil {
		return "", err
	}
	if err := b.lendObjects(repo); err != nil {
		return "", err
	}
	_, err = b.run(ctx, "none", repo, tree, "read-tree", "--reset", "-u", commit)
	return repo, err
}

// lendObjects has a repository borrow the objects of the bare one.
func (b *bare) lendObjects(repo string) error {
	objects := filepath.Join(b.dir, "objects") + "\n"
	if err := os.MkdirAll(filepath.Join(repo, "objects", "info"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(repo, "objects", "info", "alternates"), []byte(objects), 0o644)
}

// initTree makes a repository of which relative submodules are found.
func (b *bare) initTree(ctx context.Context, repo, tree string) error {
	if _, err := b.run(ctx, "none", repo, tree, b.initArgs()...); err != nil {
		return err
	}
	_, err := b.run(ctx, "none", repo, tree, "config", "remote.origin.url", b.spec.remote)
	return err
}

// clone writes a commit into tree with a repository of its own, that has the commit
// and nothing before it.
func (b *bare) clone(ctx context.Context, repo, tree string, r resolved, commit string) error {
	if err := b.initTree(ctx, repo, tree); err != nil {
		return err
	}
	spec := r.object
	if strings.HasPrefix(r.ref, "refs/") {
		spec += ":" + r.ref
	}
	// By file://, since a plain path would share files with the bare repository.
	if _, err := b.run(ctx, "file", repo, tree, "fetch", "--quiet", "--depth=1", "--no-tags", "--update-head-ok", "--", "file://"+b.dir, spec); err != nil {
		return err
	}
	args := []string{"checkout", "--force", "--detach", "--quiet", commit}
	if b.spec.advice {
		args = []string{"checkout", "--force", commit + "^0"} // which is told that it is detached
	}
	if _, err := b.run(ctx, "none", repo, tree, args...); err != nil {
		return err
	}
	for _, config := range [][]string{
		{"--unset-all", "core.worktree"}, // where it was mounted
		{"remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"},
	} {
		if _, err := b.run(ctx, "none", repo, "", append([]string{"config"}, config...)...); err != nil && config[0] != "--unset-all" {
			return err
		}
	}
	return errors.Join(os.RemoveAll(filepath.Join(repo, "logs")), os.RemoveAll(filepath.Join(repo, "FETCH_HEAD")))
}

// removeGitFiles removes the files by which submodules find their repositories.
// Nothing that is tracked has that name.
func removeGitFiles(tree string) error {
	return filepath.WalkDir(tree, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != ".git" {
			return err
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if e.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
}

// liftSubdir leaves in dir only what is in a subdirectory of dir/tree.
func liftSubdir(dir, tree, subdir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	at := tree
	for _, part := range strings.Split(subdir, "/") {
		at = filepath.Join(at, part)
		fi, err := root.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("it has no directory %q", subdir)
		}
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return fmt.Errorf("%q is no directory: %s is a file or a link", subdir, part)
		}
	}
	sub, err := root.Open(at)
	if err != nil {
		return err
	}
	names, err := sub.Readdirnames(-1)
	if err = errors.Join(err, sub.Close()); err != nil {
		return err
	}
	for _, name := range names {
		if err := root.Rename(filepath.Join(at, name), name); err != nil {
			return err
		}
	}
	return root.RemoveAll(tree)
}

// openFiles lets everybody write the files that nobody can execute.
func openFiles(dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	return fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		fi, err := e.Info()
		if err != nil || fi.Mode()&0o111 != 0 {
			return err
		}
		return root.Chmod(path, fi.Mode()|0o222)
	})
}

// setTimes gives all files the time of the commit.
func (b *bare) setTimes(ctx context.Context, dir, commit string) error {
	out, err := b.git(ctx, "show", "--no-patch", "--format=%ct", "--end-of-options", commit)
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return fmt.Errorf("the time of commit %s: %w", commit, err)
	}
	ts := unix.NsecToTimespec(time.Unix(seconds, 0).UnixNano())
	var paths []string
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		return err
	}
	// Folders after what is in them, which changes their times.
	for i := len(paths) - 1; i >= 0; i-- {
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, paths[i], []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "utimensat", Path: paths[i], Err: err}
		}
	}
	return nil
}
