package fileop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	"google.golang.org/protobuf/proto"
)

// cacheType is what our own digests of file ops begin with. It changes when the meaning
// of a file op does.
const cacheType = "tenon.file.v2"

// selector is one part of an input that the op uses. As JSON it is what our own digests
// are made of.
type selector struct {
	Path            string
	FollowLinks     bool     `json:",omitempty"`
	Wildcard        bool     `json:",omitempty"`
	IncludePatterns []string `json:",omitempty"`
	ExcludePatterns []string `json:",omitempty"`
	RequiredPaths   []string `json:",omitempty"`

	asked string // Path as it was asked for
}

func (s selector) opt() contenthash.Opt {
	return contenthash.Opt{
		FollowLinks: s.FollowLinks, Wildcard: s.Wildcard,
		IncludePatterns: s.IncludePatterns, ExcludePatterns: s.ExcludePatterns,
		RequiredPaths: s.RequiredPaths,
	}
}

// CacheMap gives the digest of the actions: BuildKit's, where that tells the op apart from
// all others, and else one of our own. Of an input that is only copied from, or
// only searched for owners, it selects the paths that are used, and the content key is
// the digest of those: what else is in the input does not matter, nor where in it
// they are. An input that the result is built on is used whole: its content key is that of
// its tree, as contenthash.Tree has it, and local, since BuildKit has none.
func (o *op) CacheMap(ctx context.Context, index int) (*solver.CacheMap, bool, error) {
	parts := selectors(o.file.Actions, len(o.trees))
	theirs := plain(o.file.Actions, parts)
	dgst, err := ownDigest(o.file, parts)
	if theirs {
		dgst, err = buildKitDigest(o.file.Actions, len(parts))
	}
	if err != nil {
		return nil, false, err
	}
	cm := solver.NewCacheMap(dgst, len(parts))
	for i, sels := range parts {
		if sels == nil {
			if !o.deps.NoCutoff {
				cm.Deps[i].ComputeDigestFunc = contenthash.TreeKey()
			}
			continue
		}
		cm.Deps[i].ComputeDigestFunc = contentOf(sels)
		if theirs {
			cm.Deps[i].Selector = buildKitSelector(sels)
			continue
		}
		dt, err := json.Marshal(sels)
		if err != nil {
			return nil, false, err
		}
		cm.Deps[i].Selector = digest.FromBytes(dt)
	}
	return cm, true, nil
}

// ownDigest is the digest of the actions without where their sources are, if selectors say
// that.
func ownDigest(file *pb.FileOp, parts [][]selector) (digest.Digest, error) {
	file = proto.CloneOf(file)
	for _, a := range file.Actions {
		c := a.GetCopy()
		if c == nil || a.SecondaryInput < 0 || a.SecondaryInput >= int64(len(parts)) || parts[a.SecondaryInput] == nil {
			continue
		}
		// The selector says from where; only the name can show in the result.
		from := path.Join("/", c.Src)
		c.Src = path.Base(cleanPath(c.Src))
		for i, p := range c.RequiredPaths {
			c.RequiredPaths[i] = strings.TrimPrefix(path.Join("/", p), from)
		}
	}
	dt, err := proto.MarshalOptions{Deterministic: true}.Marshal(file)
	if err != nil {
		return "", err
	}
	return digest.FromBytes(append([]byte(cacheType+"\x00"), dt...)), nil
}

// selectors lists for each input the parts that are used, in the order in which the
// actions use them: copies that swap their sources are not the same. It is nil for an
// input that is used whole, or not at all.
func selectors(actions []*pb.FileAction, inputs int) [][]selector {
	parts := make([][]selector, inputs)
	whole := make([]bool, inputs)
	add := func(n int64, s selector) {
		if n >= 0 && n < int64(inputs) {
			parts[n] = append(parts[n], s)
		}
	}
	for _, a := range actions {
		if a.Input >= 0 && a.Input < int64(inputs) {
			whole[a.Input] = true
		}
		if c := a.GetCopy(); c != nil {
			add(a.SecondaryInput, selector{
				Path:            path.Join("/", c.Src),
				asked:           c.Src,
				FollowLinks:     c.FollowSymlink,
				Wildcard:        c.AllowWildcard && contenthash.HasWildcard(c.Src),
				IncludePatterns: c.IncludePatterns,
				ExcludePatterns: c.ExcludePatterns,
				RequiredPaths:   c.RequiredPaths,
			})
		}
		o := owner(a)
		if by := o.GetUser().GetByName(); by != nil {
			add(by.Input, selector{Path: passwdFile, asked: passwdFile, FollowLinks: true})
		}
		if by := o.GetGroup().GetByName(); by != nil {
			add(by.Input, selector{Path: groupFile, asked: groupFile, FollowLinks: true})
		}
	}
	for i := range parts {
		if whole[i] {
			parts[i] = nil
		}
	}
	return parts
}

// contentOf computes the digest of parts of a tree. What is not there has a digest,
// too: Exec says better what that means.
func contentOf(sels []selector) solver.ResultBasedCacheFunc {
	return func(ctx context.Context, res solver.Result) (digest.Digest, error) {
		ref, err := store.RefOf(res)
		if err != nil {
			return "", err
		}
		return partsOf(ctx, ref, sels)
	}
}

func partsOf(ctx context.Context, ref *store.Ref, sels []selector) (digest.Digest, error) {
	sums := make([]string, len(sels))
	for i, s := range sels {
		sum, err := contenthash.Checksum(ctx, ref, s.Path, s.opt())
		if _, ok := errors.AsType[*contenthash.NotFoundError](err); ok {
			sums[i] = "missing"
			continue
		}
		if err != nil {
			return "", fmt.Errorf("digest of %s: %w", s.Path, err)
		}
		sums[i] = sum.String()
	}
	return digest.FromString(cacheType + "\x00" + strings.Join(sums, "\x00")), nil
}
