package regular_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/regular"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	check.OK(t, os.WriteFile(at("file"), []byte("four"), 0o600))
	check.OK(t, os.Symlink("file", at("link")))
	check.OK(t, syscall.Mkfifo(at("pipe"), 0o600))
	for _, name := range []string{"file", "link"} {
		dt, err := regular.Read(at(name), 4)
		check.OK(t, err)
		check.Equal(t, name, string(dt), "four")
	}
	_, err := regular.Read(at("file"), 3)
	check.Says(t, err, "more than 3 bytes")
	for _, path := range []string{at("pipe"), dir, "/dev/zero"} {
		_, err := regular.Read(path, 4)
		check.Says(t, err, path, "not a regular file")
	}
	_, err = regular.Read(at("none"), 4)
	check.Says(t, err, "no such file")
}
