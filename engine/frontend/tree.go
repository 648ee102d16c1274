package frontend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/tenonbuild/tenon/engine/store"
)

// tree is a tree of files mounted at a folder. Paths are resolved within it,
// links included. "" is the empty tree.
type tree string

// withTree has a tree be there for as long as use runs.
func withTree(ctx context.Context, ref *store.Ref, use func(tree) error) error {
	if ref == nil {
		return use("")
	}
	dir, release, err := store.ReadLocal(ctx, ref)
	return reading(err, release, func() error { return use(tree(dir)) })
}

// mounted mounts a tree for as long as use runs.
func mounted(ctx context.Context, t store.Tree, use func(dir string) error) error {
	dir, unmount, err := store.MountLocal(ctx, t, true)
	return reading(err, unmount, func() error { return use(dir) })
}

// reading uses a tree, unless it is not there, and releases it.
func reading(failed error, release, use func() error) (err error) {
	if failed != nil {
		return fmt.Errorf("reading from what was built: %w", failed)
	}
	defer func() { err = errors.Join(err, release()) }()
	return use()
}

func (t tree) resolve(op, name string) (string, error) {
	if t == "" {
		return "", &os.PathError{Op: op, Path: name, Err: syscall.ENOENT}
	}
	return fs.RootPath(string(t), name)
}

// emptyTop says whether a path is the top of the empty tree, which is all that this has.
func (t tree) emptyTop(name string) bool { return t == "" && path.Clean("/"+name) == "/" }

// named makes an error name the path in the tree and not where it is mounted, and
// what was to be done with it.
func named(err error, op, name string) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return &os.PathError{Op: op, Path: name, Err: pe.Err}
	}
	return err
}

// maxRead is how many bytes of a file a frontend can have at a time.
const maxRead = 256 << 20

func (t tree) read(req client.ReadRequest) ([]byte, error) {
	p, err := t.resolve("open", req.Filename)
	if err != nil {
		return nil, named(err, "open", req.Filename)
	}
	st, err := os.Lstat(p)
	if err != nil {
		return nil, named(err, "open", req.Filename)
	}
	// Another kind of file could be a device of this machine, or never answer.
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", req.Filename)
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, named(err, "open", req.Filename)
	}
	defer f.Close()
	return readPart(f, req)
}

// readPart reads what is asked for of an open regular file.
func readPart(f *os.File, req client.ReadRequest) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, named(err, "open", req.Filename)
	}
	rg := client.FileRange{}
	if req.Range != nil {
		rg = *req.Range
	}
	if rg.Offset < 0 || rg.Length < 0 {
		return nil, fmt.Errorf("invalid range for %s: from %d, %d bytes: neither can be negative", req.Filename, rg.Offset, rg.Length)
	}
	length := max(st.Size()-int64(rg.Offset), 0)
	if rg.Length > 0 {
		length = min(length, int64(rg.Length))
	}
	if length > maxRead {
		return nil, fmt.Errorf("%s: %d bytes are too many to be read at once: read at most %d at a time", req.Filename, length, maxRead)
	}
	data, err := io.ReadAll(io.NewSectionReader(f, int64(rg.Offset), length))
	return data, named(err, "open", req.Filename)
}

func (t tree) stat(name string) (*fstypes.Stat, error) {
	if t.emptyTop(name) {
		return &fstypes.Stat{Path: name, Mode: uint32(os.ModeDir | 0o755)}, nil
	}
	p, err := t.resolve("stat", name)
	if err != nil {
		return nil, named(err, "stat", name)
	}
	st, err := fsutil.Stat(p)
	if err != nil {
		return nil, named(err, "stat", name)
	}
	return st, nil
}

func (t tree) list(req client.ReadDirRequest) ([]*fstypes.Stat, error) {
	if t.emptyTop(req.Path) {
		return nil, nil
	}
	p, err := t.resolve("readdir", req.Path)
	if err != nil {
		return nil, named(err, "readdir", req.Path)
	}
	entries, err := os.ReadDir(p)
	if err != nil {
		return nil, named(err, "readdir", req.Path)
	}
	var list []*fstypes.Stat
	for _, e := range entries {
		if req.IncludePattern != "" {
			ok, err := path.Match(req.IncludePattern, e.Name())
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w", req.IncludePattern, err)
			}
			if !ok {
				continue
			}
		}
		st, err := fsutil.Stat(filepath.Join(p, e.Name()))
		if err != nil {
			return nil, named(err, "readdir", path.Join(req.Path, e.Name()))
		}
		st.Path = e.Name()
		list = append(list, st)
	}
	return list, nil
}
