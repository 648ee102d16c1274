package fileop

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/continuity/fs"
	"github.com/tenonbuild/tenon/engine/contenthash"
)

// glob lists what a pattern matches in the tree at root, as paths in the tree, in
// lexical order. Each component matches one name, as path.Match does. Links are
// followed (inside the tree) before the first component with a wildcard: in its
// directories always, and in its last component if followLast is set; not from there
// on. A pattern without wildcards is what it says, whether it is there or not.
func glob(root, pattern string, followLast bool) ([]string, error) {
	parts := strings.Split(strings.TrimPrefix(path.Join("/", pattern), "/"), "/")
	n := 0
	for n < len(parts) && !contenthash.HasWildcard(parts[n]) {
		n++
	}
	if n == len(parts) {
		return []string{cleanPath(pattern)}, nil
	}
	literal := path.Join("/", path.Join(parts[:n]...))
	resolve := fs.RootPath
	if !followLast && literal != "/" {
		resolve = place
	}
	base, err := resolve(root, literal)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(root, base)
	if err != nil {
		return nil, err
	}
	return globBelow(base, path.Join("/", rel), parts[n:])
}

func globBelow(dir, name string, parts []string) (found []string, err error) {
	if fi, err := os.Lstat(dir); err != nil || !fi.IsDir() {
		if err == nil || errors.Is(err, iofs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil, nil
		}
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		ok, err := path.Match(parts[0], e.Name())
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", parts[0], err)
		}
		m := path.Join(name, e.Name())
		switch {
		case !ok:
		case len(parts) == 1:
			found = append(found, m)
		case e.IsDir():
			more, err := globBelow(filepath.Join(dir, e.Name()), m, parts[1:])
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		}
	}
	return found, nil
}
