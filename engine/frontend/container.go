package frontend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/util/openfile"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/tenonbuild/tenon/engine/store"
)

// Container runs processes for a frontend.
type Container interface {
	Start(ctx context.Context, req client.StartRequest) (client.ContainerProcess, error)
	// Tree is what a mount shows; it is borrowed.
	Tree(mount int) (store.Tree, error)
	// Release gives it up, and says whether it had to kill something.
	Release(ctx context.Context) (killed bool, err error)
}

// maxContainers is how many containers one build's frontends may have at a time.
const maxContainers = 64

// NewContainer makes a container of the trees of references, for processes that the
// frontend starts itself. It is released with the build at the latest.
func (c *Client) NewContainer(ctx context.Context, req client.NewContainerRequest) (client.Container, error) {
	trees := make([]*store.Ref, len(req.Mounts))
	for i, m := range req.Mounts {
		if m.Ref == nil {
			continue
		}
		ref, ok := m.Ref.(interface {
			Ref(ctx context.Context) (*store.Ref, error)
		})
		if !ok {
			return nil, fmt.Errorf("mount %s is of a reference that the frontend did not get from its client: %T", m.Dest, m.Ref)
		}
		var err error
		if trees[i], err = ref.Ref(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.kept.reserve(); err != nil {
		return nil, err
	}
	made, err := c.build.NewContainer(ctx, req, trees)
	if err != nil {
		c.kept.forget(nil)
		return nil, err
	}
	ctr := &container{Container: made}
	ctr.forget = sync.OnceFunc(func() { c.kept.forget(ctr) })
	return ctr, c.kept.addContainer(ctx, ctr)
}

// container is a Container whose files can be read.
type container struct {
	Container
	forget func() // gives back its place in kept
}

var _ client.Container = (*container)(nil)

// Release implements client.Container. That it killed what still ran is an error.
func (c *container) Release(ctx context.Context) error {
	killed, err := c.close(ctx)
	if killed && err == nil {
		err = fmt.Errorf("processes were killed, since their container was released: %w", context.Canceled)
	}
	return err
}

// close releases the container.
func (c *container) close(ctx context.Context) (killed bool, err error) {
	defer c.forget()
	return c.Container.Release(ctx)
}

// read calls use with the folder where a mount can be seen, and the path below it that
// is meant. Processes may change what is there at any time.
func (c *container) read(ctx context.Context, mount int, op, name string, use func(dir, name string) error) error {
	t, err := c.Tree(mount)
	if err != nil {
		return err
	}
	below := strings.TrimPrefix(path.Clean("/"+name), "/")
	if below == "" {
		below = "."
	}
	return named(mounted(ctx, t, func(dir string) error { return use(dir, below) }), op, name)
}

// ReadFile implements client.Container.
func (c *container) ReadFile(ctx context.Context, req client.ReadContainerRequest) (data []byte, err error) {
	err = c.read(ctx, req.MountIndex, "open", req.Filename, func(dir, name string) error {
		f, err := openfile.RegularInRoot(dir, name)
		if err != nil {
			return err
		}
		defer f.Close()
		data, err = readPart(f, req.ReadRequest)
		return err
	})
	return data, err
}

// StatFile implements client.Container. A link that leads out of the mount, where another
// one may be, is told of as such.
func (c *container) StatFile(ctx context.Context, req client.StatContainerRequest) (st *fstypes.Stat, err error) {
	err = c.read(ctx, req.MountIndex, "stat", req.Path, func(dir, name string) error {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		defer root.Close()
		fi, err := root.Stat(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			fi, err = root.Lstat(name)
		}
		if err == nil {
			st, err = toStat(root, name, path.Base(path.Clean("/"+req.Path)), fi)
		}
		return err
	})
	return st, err
}

// ReadDir implements client.Container.
func (c *container) ReadDir(ctx context.Context, req client.ReadDirContainerRequest) (list []*fstypes.Stat, err error) {
	err = c.read(ctx, req.MountIndex, "readdir", req.Path, func(dir, name string) error {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		defer root.Close()
		sub, err := root.OpenRoot(name) // no pipe or device is opened
		if err != nil {
			return err
		}
		defer sub.Close()
		entries, err := fs.ReadDir(sub.FS(), ".")
		if err != nil {
			return err
		}
		for _, e := range entries {
			if req.IncludePattern != "" {
				ok, err := path.Match(req.IncludePattern, e.Name())
				if err != nil {
					return fmt.Errorf("pattern %q: %w", req.IncludePattern, err)
				}
				if !ok {
					continue
				}
			}
			fi, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // it was removed meanwhile
			}
			if err != nil {
				return err
			}
			st, err := toStat(sub, e.Name(), e.Name(), fi)
			if err != nil {
				return err
			}
			list = append(list, st)
		}
		return nil
	})
	return list, err
}

// toStat is what is known of a file, under the name that it is told by.
func toStat(root *os.Root, name, told string, fi fs.FileInfo) (*fstypes.Stat, error) {
	st := &fstypes.Stat{Path: told, Mode: uint32(fi.Mode() &^ fs.ModeSocket), ModTime: fi.ModTime().UnixNano()}
	if !fi.IsDir() {
		st.Size = fi.Size()
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		to, err := root.Readlink(name)
		if err != nil {
			return nil, err
		}
		st.Linkname = to
	}
	return st, nil
}
