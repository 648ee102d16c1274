package git

import (
	"context"
	"errors"
	"fmt"
	"github.com/tenonbuild/tenon/internal/regular"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// bare is what is kept of a remote. What was fetched is held by refs/tenon/ and the
// name of the object.
type bare struct {
	*client
	dir    string
	sha256 bool
}

func (b *bare) git(ctx context.Context, args ...string) ([]byte, error) {
	return b.run(ctx, "none", b.dir, "", args...)
}

// fetch fetches into the repository; its last argument may be refspecs.
func (b *bare) fetch(ctx context.Context, args ...string) error {
	if err := b.tidy(); err != nil {
		return err
	}
	_, err := b.net(ctx, b.dir, append([]string{"fetch", "--no-tags", "--force"}, args...)...)
	if err != nil {
		err = errors.Join(err, b.tidy())
	}
	return err
}

// tidy removes locks and halves of packs: we are the only one here, so they are of a
// process that died.
func (b *bare) tidy() error {
	held, err := regular.Glob(b.dir, "refs/tenon/*.lock")
	if err != nil {
		return err
	}
	for _, half := range []string{"tmp_*", ".tmp-*"} { // of a fetch, and of packing anew
		halves, err := regular.Glob(b.dir, "objects/pack/"+half)
		if err != nil {
			return err
		}
		held = append(held, halves...)
	}
	for _, name := range []string{"shallow.lock", "packed-refs.lock", "config.lock", "HEAD.lock"} {
		held = append(held, filepath.Join(b.dir, name))
	}
	for _, path := range held {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("git source: %w", err)
		}
	}
	return nil
}

// init makes the repository if there is none.
func (b *bare) init(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(b.dir, "HEAD")); err == nil {
		return nil
	}
	tmp, err := b.temp()
	if err != nil {
		return err
	}
	fresh := filepath.Join(tmp, "bare")
	if _, err := b.run(ctx, "none", fresh, "", b.initArgs("--bare")...); err != nil {
		return err
	}
	// Checkouts that keep their .git fetch from here.
	if _, err := b.run(ctx, "none", fresh, "", "config", "uploadpack.allowAnySHA1InWant", "true"); err != nil {
		return err
	}
	if err := b.note(fresh); err != nil {
		return err
	}
	if err := os.RemoveAll(b.dir); err != nil {
		return fmt.Errorf("git source: %w", err)
	}
	return os.Rename(fresh, b.dir)
}

func (b *bare) initArgs(more ...string) []string {
	args := []string{"init", "--quiet", "--template="}
	if b.sha256 {
		args = append(args, "--object-format=sha256")
	}
	return append(args, more...)
}

// have makes sure that what was resolved is there, and returns its commit.
func (b *bare) have(ctx context.Context, r resolved) (string, error) {
	if b.spec.bundle != nil {
		return b.bundled(ctx, r)
	}
	if err := b.init(ctx); err != nil {
		return "", err
	}
	if commit, err := b.commitOf(ctx, r.object); err == nil {
		return commit, nil
	} else if ctx.Err() != nil {
		return "", err
	}
	done := b.step("fetching " + short(r.object))
	if err := b.obtain(ctx, r); err != nil {
		return "", err
	}
	commit, err := b.commitOf(ctx, r.object)
	if err != nil {
		return "", fmt.Errorf("it has no commit %s (any more)", r.object)
	}
	done()
	return commit, b.repack(ctx)
}

// commitOf returns the commit that an object is, or is a tag of. It is an error if
// it is not there.
func (b *bare) commitOf(ctx context.Context, object string) (string, error) {
	out, err := b.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", object+"^{commit}")
	return strings.TrimSpace(string(out)), err
}

// obtain fetches an object: alone, where the server lets us; by its ref; or with
// all that there is.
func (b *bare) obtain(ctx context.Context, r resolved) error {
	hold := "refs/tenon/" + r.object
	err := b.fetch(ctx, "--depth=1", "--", b.spec.remote, r.object+":"+hold)
	if err == nil || !unadvertised(err) {
		return err
	}
	if strings.HasPrefix(r.ref, "refs/") {
		err := b.fetch(ctx, "--depth=1", "--", b.spec.remote, r.ref+":"+hold)
		if err != nil && !unadvertised(err) {
			return err
		}
		if err == nil {
			out, err := b.git(ctx, "rev-parse", "--verify", "--quiet", hold)
			if err == nil && strings.TrimSpace(string(out)) == r.object {
				return nil
			}
		}
		// The ref has moved: the object may still be reachable.
	}
	return b.fetchAll(ctx)
}

// fetchAll fetches the history of all branches and tags.
func (b *bare) fetchAll(ctx context.Context) error {
	args := []string{"--prune"}
	if _, err := os.Stat(filepath.Join(b.dir, "shallow")); err == nil {
		args = append(args, "--unshallow")
	}
	args = append(args, "--", b.spec.remote, "+refs/heads/*:refs/remote/heads/*", "+refs/tags/*:refs/remote/tags/*")
	return b.fetch(ctx, args...)
}

// repack makes one pack of many: each fetch leaves one, and git looks through all. All
// objects are kept, also those that nothing refers to any more: a build may have seen
// them. A repository that cannot be packed is as good as before.
func (b *bare) repack(ctx context.Context) error {
	packs, err := regular.Glob(b.dir, "objects/pack/*.pack")
	if err != nil || len(packs) <= b.source.opt.MaxPacks {
		return err
	}
	for _, args := range [][]string{{"repack", "-a", "-d", "--keep-unreachable", "--quiet"}, {"pack-refs", "--all"}} {
		if _, err := b.git(ctx, args...); err != nil {
			if ctx.Err() != nil {
				return err
			}
			b.progress.Log(2, fmt.Appendf(nil, "what is kept of the repository cannot be packed anew: %v\n", err))
			return nil
		}
	}
	return nil
}

// abbreviated finds a commit by the beginning of its name. The result has no object
// if there is none.
func (b *bare) abbreviated(ctx context.Context, prefix string) (resolved, error) {
	if err := b.init(ctx); err != nil {
		return resolved{}, err
	}
	if err := b.fetchAll(ctx); err != nil {
		return resolved{}, err
	}
	out, err := b.git(ctx, "rev-parse", "--disambiguate="+prefix)
	if err != nil {
		return resolved{}, err
	}
	commits := map[string]bool{}
	for _, object := range strings.Fields(string(out)) {
		kind, err := b.git(ctx, "cat-file", "-t", object)
		if err != nil {
			return resolved{}, err
		}
		if strings.TrimSpace(string(kind)) == "commit" {
			commits[object] = true
		}
	}
	if len(commits) > 1 {
		return resolved{}, fmt.Errorf("%s is the beginning of %d commits: give more of it", prefix, len(commits))
	}
	for c := range commits {
		return resolved{ref: c, object: c, commit: c}, nil
	}
	return resolved{}, nil
}
