package contenthash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"path"
	"strconv"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/store"
)

// BuildKit returns what BuildKit v0.33 has for the digest of a path, or "" where it has
// none. By it are found what stands in caches that BuildKit has written. It says less
// than Checksum: extended attributes run into each other, times and devices' numbers
// never count, and of some directories the mode does not.
func BuildKit(ctx context.Context, ref *store.Ref, p string, opt Opt) (digest.Digest, error) {
	if ref == nil {
		if path.Join("/", p) != "/" {
			return "", nil
		}
		return digest.FromBytes(nil), nil
	}
	return trees.with(ctx, ref, func(t *tree, d disk) (digest.Digest, error) { return t.buildKit(ctx, d, p, opt) })
}

// BuildKitDir is BuildKit of a directory, which must not be changing. Nothing is kept.
func BuildKitDir(ctx context.Context, dir, p string, opt Opt) (digest.Digest, error) {
	return newTree().buildKit(ctx, directory(dir), p, opt)
}

// typeflags are those of tar.
var typeflags = map[Kind]string{File: "0", Socket: "0", Symlink: "2", Char: "3", Block: "4", Dir: "5", Fifo: "6"}

// buildKitHash has been told all of an entry but a file's bytes, as the header of a tar
// archive without a name and times.
func (e *Entry) buildKitHash() hash.Hash {
	mode, size := e.Mode, int64(0)
	if e.Kind == Symlink {
		mode = 0o777
	}
	if e.Kind == File {
		size = e.Size
	}
	b := make([]byte, 0, 256)
	b = append(b, "name"+"mode"...)
	b = strconv.AppendUint(b, uint64(mode), 10)
	b = append(b, "uid"...)
	b = strconv.AppendUint(b, uint64(e.UID), 10)
	b = append(b, "gid"...)
	b = strconv.AppendUint(b, uint64(e.GID), 10)
	b = append(b, "size"...)
	b = strconv.AppendInt(b, size, 10)
	b = append(b, "typeflag"+typeflags[e.Kind]+"linkname"+e.Target+"uname"+"gname"+"devmajor0"+"devminor0"...)
	for _, k := range sortedXattrs(e.Xattrs) {
		b = append(append(b, k...), e.Xattrs[k]...)
	}
	h := sha256.New()
	h.Write(b)
	return h
}

// buildKit is BuildKit's digest of the entry; of a directory alone.
func (e *Entry) buildKit() (sum Sum) {
	if e.Kind == File {
		return e.Content
	}
	e.buildKitHash().Sum(sum[:0])
	return sum
}

// appendDigest appends a sum as digests are written.
func appendDigest(b []byte, s Sum) []byte {
	b = append(b, "sha256:"...)
	return hex.AppendEncode(b, s[:])
}

// emptySum is that of no bytes.
var emptySum = Sum(sha256.Sum256(nil))

// headerForBuildKit is BuildKit's digest of a node without what is below it. What a client
// has sent has no root of its own.
func (t *tree) headerForBuildKit(n *node) Sum {
	if n.parent == nil && t.sent {
		return emptySum
	}
	return n.peer
}

// forBuildKit is BuildKit's digest of a node of which everything is known.
func (t *tree) forBuildKit(n *node) (sum Sum) {
	if n.kind != Dir {
		return n.peer
	}
	if n.peerSummed {
		return n.peerSum
	}
	h := sha256.New()
	b := appendDigest(append(make([]byte, 0, 512), 0), t.headerForBuildKit(n))
	for _, c := range n.children {
		h.Write(b)
		b = append(append(b[:0], 0), c.name...)
		b = appendDigest(b, t.forBuildKit(c))
	}
	h.Write(b)
	h.Sum(sum[:0])
	n.peerSum, n.peerSummed = sum, true
	return sum
}

// wholeForBuildKit reads what is not known, first. Nil has no digest.
func (t *tree) wholeForBuildKit(ctx context.Context, d disk, n *node) (digest.Digest, error) {
	if n == nil {
		return "", nil
	}
	if _, err := t.whole(ctx, d, n); err != nil {
		return "", err
	}
	return t.forBuildKit(n).Digest(), nil
}

func (t *tree) buildKit(ctx context.Context, d disk, p string, opt Opt) (digest.Digest, error) {
	wild := opt.Wildcard && HasWildcard(p)
	f, err := newFilter(opt.IncludePatterns, opt.ExcludePatterns)
	if err != nil {
		return "", err
	}
	if f == nil && !wild {
		n, err := t.resolve(ctx, d, p, opt.FollowLinks)
		if err != nil {
			return "", err
		}
		return t.wholeForBuildKit(ctx, d, n)
	}
	if f == nil {
		f = &filter{}
	}
	p = strings.TrimSuffix(path.Join("/", p), "/")
	w := &walk{t: t, d: d, f: f, follow: opt.FollowLinks, asked: p, base: p}
	if err := w.from(ctx, wild); err != nil {
		return "", err
	}
	for _, required := range opt.RequiredPaths {
		if !w.has(required) {
			return "", nil
		}
	}
	return w.digest(ctx)
}

// walk is how BuildKit goes through what patterns choose. Files are chosen, and the
// directories that have one, or match themselves, without what is in them.
type walk struct {
	t      *tree
	d      disk
	f      *filter
	follow bool
	asked  string // the path, or the pattern
	base   string // the literal beginning of each path
	chosen []*choice
}

// choice is a path that was looked at.
type choice struct {
	parent *choice // nil for what was asked for
	path   string
	n      *node
	follow bool // what the link leads to
	chosen bool
	// What the patterns said.
	include, exclude patternmatcher.MatchInfo
}

// from goes through what is at a path, or at those that it matches.
func (w *walk) from(ctx context.Context, wild bool) error {
	if !wild {
		n, err := w.t.resolve(ctx, w.d, w.asked, false)
		if err != nil || n == nil {
			return err
		}
		return w.visit(ctx, n, nil, "", w.asked)
	}
	found, err := w.t.expand(ctx, w.d, w.asked)
	if err != nil {
		return err
	}
	w.base = literal(w.asked)
	for _, m := range found {
		if err := w.visit(ctx, m.n, nil, "", path.Join(w.base, "/", m.name)); err != nil {
			return err
		}
	}
	return nil
}

// literal is a path up to its first component with a wildcard.
func literal(p string) string {
	parts := components(p)
	for i, part := range parts {
		if HasWildcard(part) {
			return strings.TrimSuffix("/"+strings.Join(parts[:i], "/"), "/")
		}
	}
	return p
}

// visit goes through a node and what is below it. Rel is its path below the one that was
// asked for.
func (w *walk) visit(ctx context.Context, n *node, parent *choice, rel, p string) error {
	c := &choice{parent: parent, path: p, n: n, follow: parent == nil && w.follow && n.kind == Symlink}
	if n.parent != nil || n.kind != Dir {
		yes, err := w.match(c, rel)
		if err != nil {
			return err
		}
		if yes {
			w.choose(c)
		}
	} else {
		c = nil // the root itself is never chosen, and its files are as if they were asked for
	}
	if n.kind != Dir {
		return nil
	}
	if err := w.t.list(ctx, w.d, n); err != nil {
		return err
	}
	for _, child := range n.children {
		if err := w.visit(ctx, child, c, path.Join(rel, child.name), p+"/"+child.name); err != nil {
			return err
		}
	}
	return nil
}

// match is as filter.match, but for what is excluded below what is not included.
func (w *walk) match(c *choice, rel string) (yes bool, err error) {
	above := c.parent
	if above == nil {
		above = &choice{}
	}
	if m := w.f.include; m != nil {
		if yes, c.include, err = m.MatchesUsingParentResults(rel, above.include); err != nil || !yes {
			return false, err
		}
	}
	if m := w.f.exclude; m != nil {
		if yes, c.exclude, err = m.MatchesUsingParentResults(rel, above.exclude); err != nil || yes {
			return false, err
		}
	}
	return true, nil
}

// choose chooses a path after the directories that it is in.
func (w *walk) choose(c *choice) {
	if c == nil || c.chosen {
		return
	}
	w.choose(c.parent)
	c.chosen = true
	w.chosen = append(w.chosen, c)
}

func (w *walk) has(required string) bool {
	for _, c := range w.chosen {
		if strings.HasPrefix(c.path, required) {
			return true
		}
	}
	return false
}

func (w *walk) digest(ctx context.Context) (digest.Digest, error) {
	var unknown []*node
	for _, c := range w.chosen {
		if !c.n.known {
			unknown = append(unknown, c.n)
		}
	}
	if err := w.t.learn(ctx, w.d, unknown); err != nil {
		return "", err
	}
	h := sha256.New()
	for _, c := range w.chosen {
		sum := w.t.headerForBuildKit(c.n).Digest()
		if c.follow {
			to, err := w.t.resolve(ctx, w.d, c.path, true)
			if err != nil {
				return "", err
			}
			if sum, err = w.t.wholeForBuildKit(ctx, w.d, to); err != nil || sum == "" {
				return "", err
			}
		}
		if len(w.chosen) == 1 && path.Base(w.asked) == path.Base(c.path) {
			return sum, nil
		}
		name := strings.ReplaceAll(strings.TrimPrefix(c.path, w.base), "/", "\x00")
		if name == "" {
			name = "\x00"
		}
		h.Write([]byte(name + sum.String()))
	}
	var sum Sum
	h.Sum(sum[:0])
	return sum.Digest(), nil
}
