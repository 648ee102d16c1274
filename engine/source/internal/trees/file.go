package trees

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// File is how the one file of a tree looks.
type File struct {
	Name     string
	Perm     uint32
	UID, GID int
	Changed  time.Time // the zero value is 1970, as BuildKit has it
}

// DefaultPerm is the mode of a file if none is asked for: BuildKit's.
const DefaultPerm = 0o600

// Write writes the file into an empty folder, and its bytes into seen, too.
func (f File) Write(dir string, body io.Reader, seen io.Writer) (err error) {
	changed := f.Changed
	if changed.IsZero() {
		changed = time.Unix(0, 0)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	file, err := root.OpenFile(f.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.MultiWriter(file, seen), body)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if f.UID != 0 || f.GID != 0 {
		if err := root.Lchown(f.Name, f.UID, f.GID); err != nil {
			return err
		}
	}
	// After the owner, and not when it is made, which the umask would change.
	if err := root.Chmod(f.Name, os.FileMode(f.Perm)); err != nil {
		return err
	}
	return root.Chtimes(f.Name, changed, changed)
}

// Perm reads a mode from an attribute: what it means, and what it says, which may be 0.
func Perm(s string) (means uint32, says int, err error) {
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil || n > 0o777 {
		return 0, 0, fmt.Errorf("permissions %q: they are an octal number up to 0777", s)
	}
	return cmp.Or(uint32(n), DefaultPerm), int(n), nil
}

// Owner reads a user or a group from an attribute.
func Owner(s string) (int, error) {
	n, err := strconv.ParseUint(s, 0, 31)
	if err != nil {
		return 0, fmt.Errorf("user or group %q is no number", s)
	}
	return int(n), nil
}

// defaultName is what a file is called that has no name, or none that can be used.
const defaultName = "download"

// Name makes a name of a file of what may be a path: no more than its last element.
func Name(s string) string {
	name := path.Base(strings.TrimSpace(s))
	if name == "." || name == ".." || name == "/" || len(name) > 255 || strings.ContainsFunc(name, unicode.IsControl) {
		return defaultName
	}
	return name
}
