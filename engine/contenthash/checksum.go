package contenthash

import (
	"context"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/store"
)

// Opt says how a path is meant. The zero value is a path taken literally.
type Opt struct {
	// FollowLinks makes a path whose last component is a symlink mean what that leads
	// to. Links before the last component are always followed.
	FollowLinks bool
	// Wildcard allows *, ? and [] as path.Match knows them in each component. The
	// digest then covers the paths that matched and what they are.
	Wildcard bool
	// IncludePatterns and ExcludePatterns choose from what is below the path, or below
	// each match, in the syntax of .dockerignore. The path itself is always included.
	IncludePatterns []string
	ExcludePatterns []string
	// RequiredPaths, which begin with the path, must be among what is chosen.
	RequiredPaths []string
}

// Checksum returns the digest of what a path of ref's tree is: see the package
// comment. The path is taken as absolute; symlinks never lead out of the tree. A nil
// ref is the empty tree. Ref is borrowed.
//
// Errors: *NotFoundError for a path that is not there, also where FollowLinks leads
// nowhere; a wildcard that matches nothing is no error. Malformed patterns. Files
// that cannot be read.
func Checksum(ctx context.Context, ref *store.Ref, p string, opt Opt) (digest.Digest, error) {
	if ref == nil {
		return emptyTree().checksum(ctx, nil, p, opt)
	}
	return trees.checksum(ctx, ref, p, opt)
}

// ChecksumDir is Checksum of a directory, which must not be changing. Nothing is
// kept.
func ChecksumDir(ctx context.Context, dir, p string, opt Opt) (digest.Digest, error) {
	return newTree().checksum(ctx, directory(dir), p, opt)
}

type directory string

func (d directory) open(context.Context) (string, error) { return string(d), nil }

// checksum is Checksum on a tree.
func (t *tree) checksum(ctx context.Context, d disk, p string, opt Opt) (digest.Digest, error) {
	f, err := newFilter(opt.IncludePatterns, opt.ExcludePatterns)
	if err != nil {
		return "", err
	}
	if opt.Wildcard && HasWildcard(p) {
		return t.sumMatches(ctx, d, p, f, opt)
	}
	n, err := t.resolve(ctx, d, p, opt.FollowLinks)
	if err != nil {
		return "", err
	}
	if n == nil {
		return "", &NotFoundError{Path: p}
	}
	if f == nil && len(opt.RequiredPaths) == 0 {
		sum, err := t.whole(ctx, d, n)
		if err != nil {
			return "", err
		}
		return sum.Digest(), nil
	}
	if f == nil {
		f = &filter{}
	}
	chosen, err := t.pick(ctx, d, f, n)
	if err != nil {
		return "", err
	}
	for _, required := range opt.RequiredPaths {
		rel, ok := strings.CutPrefix(path.Join("/", required)+"/", strings.TrimSuffix(path.Join("/", p), "/")+"/")
		if !ok || !chosen.has(rel) {
			return "", &NotFoundError{Path: required}
		}
	}
	sum, err := t.sumPicked(ctx, d, chosen)
	if err != nil {
		return "", err
	}
	return sum.Digest(), nil
}

func (t *tree) sumPicked(ctx context.Context, d disk, p *picked) (Sum, error) {
	var unknown []*node
	p.unknown(&unknown)
	if err := t.learn(ctx, d, unknown); err != nil {
		return Sum{}, err
	}
	return p.total(), nil
}

// sumMatches is the sum of what a wildcard matches: each path and what it is.
func (t *tree) sumMatches(ctx context.Context, d disk, p string, f *filter, opt Opt) (digest.Digest, error) {
	matches, err := t.expand(ctx, d, p)
	if err != nil {
		return "", err
	}
	sums := make([]Sum, len(matches))
	for i, m := range matches {
		n := m.n
		if n.kind == Symlink && opt.FollowLinks {
			asked := "/" + n.rel()
			if n, err = t.resolve(ctx, d, asked, true); err != nil {
				return "", err
			}
			if n == nil {
				return "", &NotFoundError{Path: asked}
			}
		}
		if sums[i], err = t.sumOf(ctx, d, n, f); err != nil {
			return "", err
		}
	}
	return sumNamed(sumList, Sum{}, func(yield func(string, Sum) bool) {
		for i, m := range matches {
			if !yield(m.name, sums[i]) {
				return
			}
		}
	}).Digest(), nil
}

// sumOf is the sum of a node and of what f chooses below it.
func (t *tree) sumOf(ctx context.Context, d disk, n *node, f *filter) (Sum, error) {
	if f == nil {
		return t.whole(ctx, d, n)
	}
	chosen, err := t.pick(ctx, d, f, n)
	if err != nil {
		return Sum{}, err
	}
	return t.sumPicked(ctx, d, chosen)
}
