package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	gofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// tree is a platform's result as exporters of trees see it: what a container would,
// but for times where there is an epoch: they are all that. It implements fsutil.FS.
type tree struct {
	id     string      // of the platform
	prefix string      // the directory that it goes to; "" for the top
	when   time.Time   // of the top
	mode   os.FileMode // of the directory prefix; 0 stands for 0755
	fs     fsutil.FS
	epoch  *time.Time
}

// withTrees mounts all results of src for as long as do runs.
func withTrees(ctx context.Context, src *Source, opt treeOptions, do func([]*tree) error) (err error) {
	if err := src.check(); err != nil {
		return err
	}
	split := src.isMap()
	if opt.split != nil {
		split = *opt.split
	}
	var trees []*tree
	for _, p := range src.Platforms {
		t := &tree{id: p.ID, when: time.Unix(0, 0)}
		if split {
			if t.id == "" {
				// Then it is the config's, or this machine's.
				said, err := exptypes.ParsePlatforms(src.Metadata)
				if err != nil {
					return err
				}
				t.id = said.Platforms[0].ID
			}
			t.prefix = platformDir(t.id)
			if slices.ContainsFunc(trees, func(o *tree) bool { return o.prefix == t.prefix }) {
				return fmt.Errorf("two platforms would go to the directory %s", t.prefix)
			}
		}
		if t.epoch, err = opt.epoch.of(src, p); err != nil {
			return err
		}
		if p.Ref == nil {
			t.fs = nowhere{}
		} else {
			unmount, err := t.mount(ctx, p.Ref)
			if err != nil {
				return fmt.Errorf("mounting the result: %w", err)
			}
			defer func() { err = errors.Join(err, unmount()) }()
		}
		platform := ""
		if src.isMap() && !split {
			platform = platformDir(p.ID)
		}
		if err := t.attest(ctx, p, opt.attestationPrefix, platform); err != nil {
			return err
		}
		trees = append(trees, t)
	}
	if !split {
		if err := disjoint(ctx, trees); err != nil {
			return err
		}
	}
	return do(trees)
}

// mount makes a tree readable. The caller unmounts it.
func (t *tree) mount(ctx context.Context, ref *store.Ref) (unmount func() error, err error) {
	dir, unmount, err := store.MountLocal(ctx, ref, true)
	if err != nil {
		return nil, err
	}
	if t.fs, err = fsutil.NewFS(dir); err != nil {
		return nil, errors.Join(err, unmount())
	}
	top, err := os.Stat(dir)
	if err != nil {
		return nil, errors.Join(err, unmount())
	}
	t.when = top.ModTime()
	return unmount, nil
}

// platformDir is the directory of a platform's tree, as BuildKit names it:
// linux/arm64 is linux_arm64. It is one element of a path.
func platformDir(id string) string {
	id = strings.NewReplacer("/", "_", `\`, "_", ":", "_").Replace(id)
	if id == "." || id == ".." {
		return strings.Repeat("_", len(id))
	}
	return id
}

// disjoint refuses trees that would overwrite each other's files in one directory.
func disjoint(ctx context.Context, trees []*tree) error {
	if len(trees) < 2 {
		return nil
	}
	type entry struct {
		of  string
		dir bool
	}
	seen := map[string]entry{}
	for _, t := range trees {
		err := t.Walk(ctx, "", func(p string, d gofs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if was, ok := seen[p]; ok && !(was.dir && d.IsDir()) {
				return fmt.Errorf("cannot overwrite %s from %s with %s when split option is disabled: without platform-split=false each has its own directory", p, was.of, t.id)
			}
			seen[p] = entry{of: t.id, dir: d.IsDir()}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Walk goes through the tree in lexical order, directories before what is in them,
// the top left out. Sockets are, too: they cannot be copied.
func (t *tree) Walk(ctx context.Context, target string, fn gofs.WalkDirFunc) error {
	if t.prefix != "" {
		st := &types.Stat{Path: t.prefix, Mode: uint32(os.ModeDir | cmp.Or(t.mode, 0o755)), ModTime: t.when.UnixNano()}
		if t.epoch != nil {
			st.ModTime = t.epoch.UnixNano()
		}
		if err := fn(t.prefix, &fsutil.DirEntryInfo{Stat: st}, nil); err != nil {
			return err
		}
	}
	return walkAll(ctx, t.fs, target, func(p string, d gofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Type()&gofs.ModeSocket != 0 {
			return nil
		}
		st, mode, err := statOf(p, d)
		if err != nil {
			return err
		}
		t.adapt(st, mode)
		return fn(filepath.Join(t.prefix, p), &fsutil.DirEntryInfo{Stat: st}, nil)
	})
}

// walkAll walks as from does, but that any error ends it and is returned. What fsutil
// walks takes a file that cannot be found, for whatever reason, as one that is gone, and
// leaves the rest of its directory out.
func walkAll(ctx context.Context, from fsutil.FS, target string, fn gofs.WalkDirFunc) error {
	var failed error
	err := from.Walk(ctx, target, func(p string, d gofs.DirEntry, err error) error {
		if failed != nil {
			return gofs.SkipAll
		}
		err = fn(p, d, err)
		if err != nil && err != gofs.SkipDir && err != gofs.SkipAll {
			failed = err
		}
		return err
	})
	if failed != nil {
		return failed
	}
	return err
}

// statOf returns a copy of what a walk tells about a file.
func statOf(p string, d gofs.DirEntry) (*types.Stat, gofs.FileMode, error) {
	fi, err := d.Info()
	if err != nil {
		return nil, 0, err
	}
	st, ok := fi.Sys().(*types.Stat)
	if !ok {
		return nil, 0, fmt.Errorf("%s: no information about the file", p)
	}
	return st.Clone(), fi.Mode(), nil
}

// adapt makes a file's information that of the file as it is written.
func (t *tree) adapt(st *types.Stat, mode gofs.FileMode) {
	st.Path = path.Join(t.prefix, filepath.ToSlash(st.Path))
	if st.Linkname != "" && mode&gofs.ModeSymlink == 0 {
		st.Linkname = path.Join(t.prefix, st.Linkname) // a hard link
	}
	if t.epoch != nil {
		st.ModTime = t.epoch.UnixNano()
	}
	for k := range st.Xattrs {
		// Such as what overlayfs keeps for itself in the directory of a lone layer.
		if !store.KeepsXattr(k) {
			delete(st.Xattrs, k)
		}
	}
}

// Open reads a file.
func (t *tree) Open(p string) (io.ReadCloser, error) {
	if t.prefix != "" {
		rel, below := strings.CutPrefix(filepath.ToSlash(p), t.prefix+"/")
		if !below {
			return nil, &os.PathError{Op: "open", Path: p, Err: os.ErrNotExist}
		}
		p = filepath.FromSlash(rel)
	}
	return t.fs.Open(p)
}

// nowhere is the empty tree.
type nowhere struct{}

func (nowhere) Walk(context.Context, string, gofs.WalkDirFunc) error { return nil }

func (nowhere) Open(p string) (io.ReadCloser, error) {
	return nil, &os.PathError{Op: "open", Path: p, Err: os.ErrNotExist}
}

// forest is several trees as one, the first tree's files first.
type forest []*tree

func (f forest) Walk(ctx context.Context, target string, fn gofs.WalkDirFunc) error {
	seen := map[string]bool{} // directories that several trees have come once
	for _, t := range f {
		err := t.Walk(ctx, target, func(p string, d gofs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				if seen[p] {
					return nil
				}
				seen[p] = true
			}
			return fn(p, d, err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f forest) Open(p string) (io.ReadCloser, error) {
	for _, t := range f {
		r, err := t.Open(p)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return r, err
		}
	}
	return nil, &os.PathError{Op: "open", Path: p, Err: os.ErrNotExist}
}
