package regular_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/regular"
)

// Replace writes the file whatever was there, and leaves nothing else.
func TestReplace(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"nothing":       func(string) error { return nil },
		"file":          func(path string) error { return os.WriteFile(path, []byte("a longer text"), 0o644) },
		"pipe":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link":          func(path string) error { return os.Symlink("../other", path) },
		"dangling link": func(path string) error { return os.Symlink("/nonexistent/x", path) },
		"empty folder":  func(path string) error { return os.Mkdir(path, 0o700) },
		"folder":        func(path string) error { return os.MkdirAll(filepath.Join(path, "x", "y"), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			folder, other := filepath.Join(dir, "folder"), filepath.Join(dir, "other")
			path := filepath.Join(folder, "file")
			check.OK(t, os.Mkdir(folder, 0o700))
			check.OK(t, os.WriteFile(other, []byte("other"), 0o600))
			check.OK(t, put(path))
			check.OK(t, regular.Replace(path, []byte("text")))
			fi, err := os.Lstat(path)
			check.OK(t, err)
			check.Equal(t, "mode", fi.Mode(), 0o600)
			for file, want := range map[string]string{path: "text", other: "other"} {
				dt, err := os.ReadFile(file)
				check.OK(t, err)
				check.Equal(t, file, string(dt), want)
			}
			entries, err := os.ReadDir(folder)
			check.OK(t, err)
			check.Equal(t, "files", len(entries), 1)
		})
	}
}

// What cannot be replaced stays, and nothing is left of what was to replace it.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	check.Says(t, regular.Replace(filepath.Join(dir, "none", "file"), nil), "no such file")
	long := filepath.Join(dir, string(make([]byte, 3)))
	check.Says(t, regular.Replace(long, nil), "invalid argument")
	entries, err := os.ReadDir(dir)
	check.OK(t, err)
	check.Equal(t, "files", len(entries), 0)
}

// Sweep removes what is half written, and nothing else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	check.OK(t, regular.Sweep(filepath.Join(dir, "none")))
	for _, name := range []string{"kept", regular.TempPrefix + "123", "re" + regular.TempPrefix} {
		check.OK(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	check.OK(t, regular.Sweep(dir))
	entries, err := os.ReadDir(dir)
	check.OK(t, err)
	check.Equal(t, "files", len(entries), 2)
}
