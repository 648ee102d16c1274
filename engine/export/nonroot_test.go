package export

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/tonistiigi/fsutil"

	"github.com/tenonbuild/tenon/internal/testenv"
)

const (
	envFrom, envTo = "TENON_TEST_COPY_FROM", "TENON_TEST_COPY_TO"
	nobody         = 65534
)

// Somebody who is not root gets all files as their own, also into directories that
// may not be written, and over and over.
func TestCopyAsNobody(t *testing.T) {
	if os.Getenv(envFrom) != "" {
		copyTree(t, os.Getenv(envFrom), os.Getenv(envTo))
		return
	}
	testenv.Root(t)
	from, to := sharedDir(t), sharedDir(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(filepath.Join(from, "closed"), 0o755))
	must(os.WriteFile(filepath.Join(from, "closed", "f"), []byte("x"), 0o444))
	must(os.Chown(filepath.Join(from, "closed", "f"), 12, 34))
	must(os.Chmod(filepath.Join(from, "closed"), 0o555))
	must(os.Symlink("closed", filepath.Join(from, "link")))
	must(os.Chown(to, nobody, nobody))
	self, err := os.Executable()
	must(err)
	exe := filepath.Join(from, "..", "test")
	dt, err := os.ReadFile(self)
	must(err)
	must(os.WriteFile(exe, dt, 0o755))
	for range 2 {
		cmd := exec.Command(exe, "-test.run=^TestCopyAsNobody$")
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), envFrom+"="+from, envTo+"="+to)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for p, want := range map[string]string{"closed": "dr-xr-xr-x", "closed/f": "-r--r--r--", "link": "Lrwxrwxrwx"} {
		fi, err := os.Lstat(filepath.Join(to, p))
		must(err)
		if st := fi.Sys().(*syscall.Stat_t); fi.Mode().String() != want || st.Uid != nobody {
			t.Errorf("%s: %v of %d, want %s of %d", p, fi.Mode(), st.Uid, want, nobody)
		}
	}
}

// sharedDir is a temporary directory that everybody can get to.
func sharedDir(t *testing.T) string {
	t.Helper()
	top, err := os.MkdirTemp("", "export")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(top); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(top, "d")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(top, 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	ctx := context.Background()
	fs, err := fsutil.NewFS(from)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		t.Fatal(err)
	}
	top := fsutil.NewRoot(root)
	w := newDirWriter(ctx, top, treeOptions{})
	w.copied = startCounter(ctx, "copying files")
	src := &tree{fs: fs}
	err = src.Walk(ctx, "", w.entry(src))
	if err := errors.Join(err, w.finish(), w.close(), top.Close()); err != nil {
		t.Fatal(err)
	}
}

// A failed entry leaves no temporary file.
func TestCopyFails(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	fs, err := fsutil.NewFS(from)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		t.Fatal(err)
	}
	top := fsutil.NewRoot(root)
	defer top.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	w := newDirWriter(ctx, top, treeOptions{})
	w.copied = startCounter(ctx, "copying files")
	src := &tree{fs: unreadable{fs}}
	err = src.Walk(ctx, "", w.entry(src))
	if err == nil || !strings.Contains(err.Error(), "f: ") {
		t.Errorf("the error is %v", err)
	}
	cancel(nil)
	if err := w.close(); err != nil {
		t.Error(err)
	}
	if es, err := os.ReadDir(to); err != nil || len(es) > 0 {
		t.Errorf("left behind: %v, %v", es, err)
	}
}

// unreadable is a tree whose files break in the middle.
type unreadable struct{ fsutil.FS }

func (u unreadable) Open(string) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("broken disk")))), nil
}
