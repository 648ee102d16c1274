package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/gitutil"

	"github.com/tenonbuild/tenon/engine/source/blob"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/regular"
)

// setBundle takes the attributes of bundles, and refuses what does not go together.
func (sp *spec) setBundle(attrs map[string]string) error {
	if sp.asBundle && (sp.keepGitDir || sp.subdir != "") {
		return fmt.Errorf("%s is incompatible with %s and a directory: a bundle is of a whole repository", pb.AttrGitCheckoutBundle, pb.AttrKeepGitDir)
	}
	from, session, layout := attrs[pb.AttrGitBundle], attrs[pb.AttrOCILayoutSessionID], attrs[pb.AttrOCILayoutStoreID]
	if from == "" {
		if session+layout != "" {
			return fmt.Errorf("%s and %s are of a bundle, and there is none", pb.AttrOCILayoutSessionID, pb.AttrOCILayoutStoreID)
		}
		return nil
	}
	l, err := blob.ParseLocator(from)
	if err != nil {
		return fmt.Errorf("%s %w", pb.AttrGitBundle, err)
	}
	if sp.checksum == "" {
		return fmt.Errorf("%s requires %s to be set", pb.AttrGitBundle, pb.AttrGitChecksum)
	}
	if l.Local {
		l.Session = session
		if layout != "" {
			l.Layout = layout
		}
	}
	sp.bundle = &l
	return nil
}

// unbundle makes a repository of the bundle that the operation names, for this client alone:
// what is kept of the remote has only what came from there.
func (c *client) unbundle(ctx context.Context) (*bare, error) {
	tmp, err := c.temp()
	if err != nil {
		return nil, err
	}
	b := &bare{client: c, dir: filepath.Join(tmp, "unbundled")}
	if _, err := os.Stat(b.dir); err == nil {
		return nil, errors.New("git source: a bundle is unbundled twice")
	}
	file := filepath.Join(tmp, "bundle")
	done := c.step("fetching bundle " + c.spec.bundle.Ref)
	if err := c.download(ctx, file); err != nil {
		return nil, fmt.Errorf("bundle %s: %w", c.spec.bundle.Ref, err)
	}
	heads, err := c.run(ctx, "file", "", "", "ls-remote", "--", file)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", c.spec.bundle.Ref, err)
	}
	object, _, _ := strings.Cut(string(heads), "\t")
	b.sha256 = len(object) == 64
	if err := b.init(ctx); err != nil {
		return nil, err
	}
	if _, err := c.run(ctx, "file", b.dir, "", "fetch", "--quiet", "--no-tags", "--", file, "+refs/*:refs/*"); err != nil {
		return nil, fmt.Errorf("bundle %s: %w", c.spec.bundle.Ref, err)
	}
	done()
	return b, os.Remove(file)
}

// download writes the bundle into a file.
func (c *client) download(ctx context.Context, file string) (err error) {
	if c.source.opt.Blob == nil {
		return errors.New("bundles are not to be had here")
	}
	rc, err := c.source.opt.Blob(ctx, *c.spec.bundle)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, store.WithinRoom(filepath.Dir(file), filepath.Base(file), rc))
	return errors.Join(err, f.Close())
}

// lookUpInBundle finds the ref in the bundle; without one, the commit that the checksum
// begins.
func (s *Source) lookUpInBundle(ctx context.Context, sp spec) (resolved, error) {
	c, err := s.client(ctx, sp)
	if err != nil {
		return resolved{}, err
	}
	defer c.close()
	b, err := c.unbundle(ctx)
	if err != nil {
		return resolved{}, err
	}
	names := []string{sp.checksum}
	if sp.ref != "" {
		names = candidates(sp.ref)
	}
	for _, name := range names {
		out, err := b.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", name)
		if ctx.Err() != nil {
			return resolved{}, context.Cause(ctx)
		}
		object := strings.TrimSpace(string(out))
		if err != nil || !gitutil.IsCommitSHA(object) {
			continue
		}
		commit, err := b.commitOf(ctx, object)
		if err != nil {
			return resolved{}, fmt.Errorf("%s of bundle %s is no commit", name, sp.bundle.Ref)
		}
		if sp.ref == "" {
			name = commit
		}
		return resolved{ref: name, object: object, commit: commit}, nil
	}
	return resolved{}, fmt.Errorf("bundle %s does not contain %q", sp.bundle.Ref, names[0])
}

// bundled returns the commit of an object of the bundle.
func (b *bare) bundled(ctx context.Context, r resolved) (string, error) {
	commit, err := b.commitOf(ctx, r.object)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("commit %s not found in bundle %s", r.object, b.spec.bundle.Ref)
	}
	return commit, err
}

// bundleFile is what a bundle is called in its tree: BuildKit's name.
const bundleFile = "bundle"

// target is the ref that a bundle is of. A commit needs one: whoever reads the bundle looks
// for the commit.
func (r resolved) target() string {
	if strings.HasPrefix(r.ref, "refs/") {
		return r.ref
	}
	return "refs/heads/main"
}

// writeBundle writes a bundle of a commit and all before it into the empty folder dir.
func (b *bare) writeBundle(ctx context.Context, dir string, r resolved, commit string) (err error) {
	if err := b.complete(ctx, r); err != nil {
		return err
	}
	tmp, err := b.temp()
	if err != nil {
		return err
	}
	// A repository that has the ref, and borrows all else.
	repo := filepath.Join(tmp, "bundling")
	if _, err := b.run(ctx, "none", repo, "", b.initArgs("--bare")...); err != nil {
		return err
	}
	if err := b.lendObjects(repo); err != nil {
		return err
	}
	what := commit
	if strings.HasPrefix(r.target(), "refs/tags/") {
		what = r.object
	}
	if _, err := b.run(ctx, "none", repo, "", "update-ref", r.target(), what); err != nil {
		return err
	}
	made := filepath.Join(tmp, "made")
	// One thread: what several make of the same is not the same.
	if _, err := b.run(ctx, "none", repo, "", "-c", "pack.threads=1", "bundle", "create", "--quiet", made, r.target()); err != nil {
		return err
	}
	return copyInto(dir, bundleFile, made)
}

// copyInto copies a file to a name in dir.
func copyInto(dir, name, from string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(0o644), out.Close())
}

// complete fetches the history of an object that was fetched without.
func (b *bare) complete(ctx context.Context, r resolved) error {
	cut, err := b.cut(ctx, r.object)
	if err != nil || !cut {
		return err
	}
	done := b.step("fetching the history of " + short(r.object))
	err = b.fetch(ctx, "--unshallow", "--", b.spec.remote, r.object+":refs/tenon/"+r.object)
	if err != nil && unadvertised(err) {
		err = b.fetchAll(ctx)
	}
	if err != nil {
		return err
	}
	if cut, err = b.cut(ctx, r.object); err != nil {
		return err
	}
	if cut {
		return fmt.Errorf("the history of %s is not there: the remote has only a part of it", r.object)
	}
	done()
	return nil
}

// cut says whether a part of the history of an object was left out when it was fetched.
func (b *bare) cut(ctx context.Context, object string) (bool, error) {
	dt, err := regular.Read(filepath.Join(b.dir, "shallow"), maxList)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("git source: %w", err)
	}
	first, err := b.git(ctx, "rev-list", "--max-parents=0", "--end-of-options", object)
	if err != nil {
		return false, err
	}
	edge := map[string]bool{}
	for commit := range strings.FieldsSeq(string(dt)) {
		edge[commit] = true
	}
	for commit := range strings.FieldsSeq(string(first)) {
		if edge[commit] {
			return true, nil
		}
	}
	return false, nil
}
