package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/buildkit/util/gitutil"
	"github.com/tonistiigi/fsutil"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/local"
)

// session is what this process lends to the build.
func (c *cli) session(ctx context.Context, in *buildInput, f *buildFlags, caches *buildCaches) (session.Session, error) {
	if err := c.checkDirs(in); err != nil {
		return nil, err
	}
	opt := local.Options{
		Dirs: in.dirs, Trees: map[string]fsutil.FS{}, Layouts: in.layouts, Outputs: f.written(), NoPull: f.pull == pullNever,
		Caches: caches.read, CachesTo: caches.written, CacheKeys: caches.keys,
	}
	for name, tree := range in.aside {
		opt.Trees[name] = tree
	}
	for _, s := range f.secrets {
		secret, err := local.ParseSecret(s)
		if err != nil {
			return nil, err
		}
		opt.Secrets = append(opt.Secrets, secret)
	}
	agents := f.ssh
	if len(agents) == 0 && isSSHRepository(in.attrs["context"]) {
		if _, ok := c.env("SSH_AUTH_SOCK"); ok {
			agents = []string{local.DefaultSSH} // as for docker buildx build
		}
	}
	for _, s := range agents {
		agent, err := local.ParseSSH(s)
		if err != nil {
			return nil, err
		}
		opt.SSH = append(opt.SSH, agent)
	}
	return local.New(ctx, opt)
}

func isSSHRepository(context string) bool {
	url, err := gitutil.ParseURL(context)
	return err == nil && url.Scheme == gitutil.SSHProtocol
}

// written are the files and directories that the flags have written.
func (f *buildFlags) written() []string {
	var paths []string
	for _, s := range f.outputs {
		// What cannot be parsed is refused where outputs are made.
		if o, err := export.ParseOutput(s); err == nil && o.Dest != "" && o.Dest != "-" {
			paths = append(paths, o.Dest)
		}
	}
	for _, p := range []string{f.iidFile, f.metadataFile} {
		if p != "" {
			paths = append(paths, p)
		}
	}
	return paths
}

// checkDirs refuses a directory in Tenon's own state folder: what is there changes
// while it is read. A directory with that folder in it is another matter.
func (c *cli) checkDirs(in *buildInput) error {
	cfg, err := c.configure()
	if err != nil {
		return err
	}
	root, err := filepath.EvalSymlinks(cfg.Root)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(in.dirs) {
		dir := in.dirs[name]
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return err
		}
		if real, err = filepath.Abs(real); err != nil {
			return err
		}
		switch rel, err := filepath.Rel(root, real); {
		case err != nil || !filepath.IsLocal(rel):
		case rel == ".":
			return fmt.Errorf("the directory %q, read as %q, is Tenon's own state folder: choose another directory, or another --root", dir, name)
		default:
			return fmt.Errorf("the directory %q, read as %q, lies in Tenon's own state folder %s: choose another directory, or another --root", dir, name, cfg.Root)
		}
	}
	return nil
}
