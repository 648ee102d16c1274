package contenthash

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// maxLinks is how many symlinks a path may lead through, as on Linux's own look-up
// with some room.
const maxLinks = 255

// NotFoundError says that a path is not in a tree. It is fs.ErrNotExist.
type NotFoundError struct {
	Path string // as it was asked for
}

func (e *NotFoundError) Error() string { return fmt.Sprintf("%q: not found", e.Path) }

// Unwrap returns fs.ErrNotExist.
func (e *NotFoundError) Unwrap() error { return fs.ErrNotExist }

// resolve finds a path, which is taken as absolute. Symlinks on the way are followed
// inside the tree: ".." at the root stays there, and an absolute target begins at
// the root. The last component is followed only if last is set. It returns nil if
// there is nothing.
func (t *tree) resolve(ctx context.Context, d disk, p string, last bool) (*node, error) {
	rest := components(path.Join("/", p))
	at, links := t.root, 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at.parent != nil {
				at = at.parent
			}
			continue
		}
		if err := t.list(ctx, d, at); err != nil {
			return nil, err
		}
		next := at.child(part)
		if next == nil {
			return nil, nil
		}
		if next.kind != Symlink || (len(rest) == 0 && !last) {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return nil, fmt.Errorf("%q leads through more than %d symbolic links: do they go in a circle?", p, maxLinks)
		}
		if path.IsAbs(next.target) {
			at = t.root
		}
		rest = append(components(next.target), rest...)
	}
	return at, nil
}

func components(p string) []string {
	return strings.Split(strings.TrimPrefix(p, "/"), "/")
}
