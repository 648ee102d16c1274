// Package git is the source of trees in git repositories: git://host/path#ref:dir.
//
// A tree is known by its commit. A ref is looked up once a build. What was fetched
// of a repository is kept in a bare repository for each remote, below the store's
// Path("git"), and only what is missing is fetched: of a branch or a tag, its last
// commit alone. These repositories are listed and pruned with the store's records,
// least recently used first; one that is in use stays. What many fetches have left in
// one is packed anew once in a while.
//
// In place of the remote, commits may come from a bundle: a blob, of which nothing is kept.
// What is to be signed is looked at before anything is made of it.
//
// The git command does the work, without the configuration of this machine or its
// users, without hooks, and over no protocol but http, https, ssh and git. What a
// session lends to authenticate is passed in the environment: it is neither on the
// disk nor in the list of processes. It is bound to a scheme, a host and a port: see
// auth.go.
package git

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/perbuild"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/source/blob"
	"github.com/tenonbuild/tenon/engine/source/internal/trees"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/regular"
)

// Options are what a Source works with.
type Options struct {
	Store    *store.Store
	Sessions *session.Sessions
	// Attempts is how often the net is tried that breaks off; 0 is 4. Wait is how
	// long to wait before the second attempt, and doubles; 0 is a second.
	Attempts int
	Wait     time.Duration
	// MaxPacks is how many packs a repository may have, which is one a fetch, before
	// they are made one; 0 is 50.
	MaxPacks int
	// Blob opens the blobs that bundles are; nil if there are none to be had.
	Blob func(context.Context, blob.Locator) (io.ReadCloser, error)
	// Memory is how many bytes of memory a git command may have; 0 is 4 GiB.
	Memory int64
}

// Source serves git://.
type Source struct {
	opt   Options
	dir   string // the store's Path("git")
	memo  perbuild.Memo[resolved]
	moved perbuild.Memo[*url.URL] // by the secret and the address that was asked
	web   func() http.RoundTripper
	locks locks
}

var _ source.Source = (*Source)(nil)
var _ source.MetaResolver = (*Source)(nil)

// New makes a Source. That git is missing is an error of those builds that need it.
func New(opt Options) (*Source, error) {
	if opt.Attempts == 0 {
		opt.Attempts = 4
	}
	if opt.Wait == 0 {
		opt.Wait = time.Second
	}
	if opt.MaxPacks == 0 {
		opt.MaxPacks = 50
	}
	if opt.Memory == 0 {
		opt.Memory = 4 << 30
	}
	s := &Source{opt: opt, dir: opt.Store.Path("git"), web: sync.OnceValue(newTransport)}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("git source: %w", err)
	}
	// What a process that died has left.
	old, err := regular.Glob(s.dir, "tmp-*")
	if err != nil {
		return nil, fmt.Errorf("git source: %w", err)
	}
	for _, dir := range old {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("git source: %w", err)
		}
	}
	opt.Store.Register("git", repositories{s})
	return s, nil
}

// Schemes implements source.Source.
func (s *Source) Schemes() []string { return []string{"git"} }

// Parse implements source.Source.
func (s *Source) Parse(op *pb.SourceOp, _ *pb.Platform) (source.Instance, error) {
	sp, err := parse(op)
	if err != nil {
		return nil, err
	}
	return &instance{source: s, spec: sp}, nil
}

// instance is one operation. Its calls do not overlap.
type instance struct {
	source *Source
	spec   spec
	known  *resolved // nil until it is
}

// CacheKey implements source.Instance: the commit, and what is made of it.
func (i *instance) CacheKey(ctx context.Context, _ int) (string, bool, error) {
	r, err := i.resolve(ctx)
	if err != nil {
		return "", false, err
	}
	return i.spec.key(r), true, nil
}

// BuildKitKey implements source.BuildKitKeyer.
func (i *instance) BuildKitKey(ctx context.Context) (key string, whole bool, err error) {
	r, err := i.resolve(ctx)
	if err != nil {
		return "", false, err
	}
	key, whole = i.spec.buildKitKey(r)
	return key, whole, nil
}

func (i *instance) resolve(ctx context.Context) (resolved, error) {
	if i.known != nil {
		return *i.known, nil
	}
	r, err := i.source.resolve(ctx, i.spec)
	if err == nil && i.spec.sig.keys != "" {
		err = i.source.verify(ctx, i.spec, r)
	}
	if err != nil {
		return resolved{}, fmt.Errorf("git repository %s: %w", i.spec.shown(), err)
	}
	i.known = &r
	return r, nil
}

// Describe implements source.Describer.
func (i *instance) Describe(ctx context.Context, to *provenance.Capture) error {
	r, err := i.resolve(ctx)
	if err != nil {
		return err
	}
	url := i.spec.full
	if i.spec.ref != "" {
		url += "#" + i.spec.ref
	}
	git := types.GitSource{URL: url, Commit: r.object}
	if b := i.spec.bundle; b != nil {
		git.Bundle = &types.GitBundle{URL: b.String()}
	}
	to.AddGit(git)
	for _, id := range []string{i.spec.tokenSecret, i.spec.headerSecret} {
		if id != "" {
			to.AddSecret(id, true)
		}
	}
	if i.spec.agent != "" {
		to.AddSSH(i.spec.agent, true)
	}
	return nil
}

// Snapshot implements source.Instance.
func (i *instance) Snapshot(ctx context.Context) (*store.Ref, error) {
	r, err := i.resolve(ctx)
	if err != nil {
		return nil, err
	}
	ref, err := i.source.snapshot(ctx, i.spec, r)
	if err != nil {
		return nil, fmt.Errorf("git repository %s: %w", i.spec.shown(), err)
	}
	return ref, nil
}

// key tells trees apart. A tree with its .git directory also depends on what the
// ref and the remote are called.
func (sp spec) key(r resolved) string {
	key := "git commit " + r.commit
	if sp.keepsGit() {
		key = fmt.Sprintf("git object %s of %q in .git of %q", r.object, r.ref, sp.remote)
	}
	if sp.subdir != "" {
		key += fmt.Sprintf(" directory %q", sp.subdir)
	}
	if sp.skipSubmodules {
		key += " without submodules"
	}
	if sp.mtimeCommit {
		key += " with its time"
	}
	if sp.openFiles {
		key += " with files that all can write"
	}
	if sp.asBundle {
		key += fmt.Sprintf(" as a bundle of %q, %s", r.target(), r.object)
	}
	return key
}

// buildKitKey is what BuildKit keys a tree by, and whether that tells it apart from all
// others. Of a tree with its .git directory it leaves out where the repository is, and of a
// bundle what the ref is called. A directory with a parenthesis in its name could be read
// as what follows it.
func (sp spec) buildKitKey(r resolved) (key string, whole bool) {
	key = r.commit
	if sp.keepGitDir {
		key = r.object + ".git#" + r.ref
	}
	if sp.subdir != "" {
		key += ":" + sp.subdir
	}
	if sp.skipSubmodules {
		key += "(skip-submodules)"
	}
	if sp.mtimeCommit {
		key += "(mtime=commit)"
	}
	if sp.asBundle {
		key += "(bundle)"
	}
	return key, !sp.keepsGit() && !sp.asBundle && !strings.Contains(sp.subdir, "(")
}

func (s *Source) snapshot(ctx context.Context, sp spec, r resolved) (*store.Ref, error) {
	c, err := s.client(ctx, sp)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var ref *store.Ref
	err = s.withRepo(ctx, c, r.object, func(b *bare) error {
		return b.mending(ctx, func() (err error) {
			ref, err = b.tree(ctx, r)
			return err
		})
	})
	return ref, err
}

// tree makes the tree of what was resolved.
func (b *bare) tree(ctx context.Context, r resolved) (*store.Ref, error) {
	commit, err := b.have(ctx, r)
	if err != nil {
		return nil, err
	}
	done := b.step("checking out " + short(commit))
	opt := store.NewOptions{Description: "git snapshot for " + b.spec.shown(), RecordType: store.TypeGitCheckout, TimesCount: b.spec.mtimeCommit}
	ref, err := trees.Write(ctx, b.source.opt.Store, opt, func(dir string) error {
		return b.checkout(ctx, dir, r, commit)
	})
	if err == nil {
		done()
	}
	return ref, err
}

// withRepo calls use with the bare repository of a remote, which nobody else uses
// meanwhile.
func (s *Source) withRepo(ctx context.Context, c *client, object string, use func(*bare) error) error {
	if c.spec.bundle != nil {
		b, err := c.unbundle(ctx)
		if err != nil {
			return err
		}
		return use(b)
	}
	// Repositories of both kinds of hashes may have been at one address.
	sha256 := len(object) == 64
	name := digest.FromString(fmt.Sprintf("%s %v", c.spec.remote, sha256)).Encoded()
	unlock, err := s.locks.lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	b := &bare{client: c, dir: filepath.Join(s.dir, name), sha256: sha256}
	if err := b.look(ctx); err != nil {
		return err
	}
	if err := b.note(b.dir); err != nil {
		return err
	}
	return use(b)
}

func short(commit string) string { return commit[:min(len(commit), 12)] }
