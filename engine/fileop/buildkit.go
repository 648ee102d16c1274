package fileop

import (
	"cmp"
	"context"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// plain says whether BuildKit's digests tell the op apart from all others: its definition
// has the last element of each path in the order of the actions, and the whole paths
// sorted, input by input. It does not tell which is which where two of them end alike, nor
// what a path that climbs is called, nor from where in a tree something is copied that is
// built on.
func plain(actions []*pb.FileAction, parts [][]selector) bool {
	for _, a := range actions {
		c := a.GetCopy()
		if c == nil || a.SecondaryInput < 0 || a.SecondaryInput >= int64(len(parts)) {
			continue
		}
		if parts[a.SecondaryInput] == nil || path.Base(c.Src) != path.Base(cleanPath(c.Src)) {
			return false
		}
	}
	for _, sels := range parts {
		byBase := map[string]string{}
		for _, s := range sels {
			base := path.Base(s.asked)
			if other, ok := byBase[base]; ok && other != s.asked {
				return false
			}
			byBase[base] = s.asked
		}
	}
	return true
}

// buildKitDigest is what BuildKit has for the digest of the op: that of JSON of its
// actions, without where their sources are.
func buildKitDigest(actions []*pb.FileAction, inputs int) (digest.Digest, error) {
	key := struct {
		Type    string
		Actions [][]byte
		Indexes [][]int64 `json:"indexes,omitempty"`
	}{Type: "buildkit.file.v0"}
	for _, a := range actions {
		dt, err := json.Marshal(action(a, inputs))
		if err != nil {
			return "", err
		}
		key.Actions = append(key.Actions, dt)
		key.Indexes = append(key.Indexes, []int64{a.Input, a.SecondaryInput, a.Output})
	}
	if usual(key.Indexes) {
		key.Indexes = nil
	}
	dt, err := json.Marshal(key)
	return digest.FromBytes(dt), err
}

// action is an action as it is hashed.
func action(a *pb.FileAction, inputs int) any {
	switch k := a.Action.(type) {
	case *pb.FileAction_Copy:
		if a.SecondaryInput == -1 || a.SecondaryInput >= int64(inputs) {
			return k.Copy
		}
		c := k.Copy.CloneVT()
		c.Src = path.Base(c.Src)
		return c
	case *pb.FileAction_Mkdir:
		return k.Mkdir
	case *pb.FileAction_Mkfile:
		return k.Mkfile
	case *pb.FileAction_Symlink:
		return k.Symlink
	case *pb.FileAction_Rm:
		return k.Rm
	}
	return nil
}

// usual says whether actions are as in most ops, where BuildKit leaves out what they work
// on: each goes on where the one before ended, and the last one's tree is the result.
func usual(indexes [][]int64) bool {
	n := len(indexes)
	for i, x := range indexes {
		input, output := int64(n+i-1), int64(-1)
		if i == 0 {
			input = 0
		}
		if i == n-1 {
			output = 0
		}
		if x[0] != input || x[1] != -1 && x[1] != 1 || x[2] != output {
			return false
		}
	}
	return n > 0
}

// buildKitSelector is the digest of the selected paths.
func buildKitSelector(sels []selector) digest.Digest {
	var paths []string
	for _, s := range sels {
		paths = append(paths, s.asked)
	}
	slices.Sort(paths)
	slices.Reverse(paths)
	return digest.FromString(strings.Join(paths, "\x00"))
}

// Aliases implements solver.Aliaser: the digests that BuildKit has for the content of what
// is used of each input.
func (o *op) Aliases(int) (a solver.Aliases) {
	parts := selectors(o.file.Actions, len(o.trees))
	if !plain(o.file.Actions, parts) {
		return a
	}
	a.Contents = make([]solver.ResultBasedCacheFunc, len(parts))
	for i, sels := range parts {
		if once, ok := distinct(sels); ok && len(once) > 0 {
			a.Contents[i] = buildKitContent(once)
		}
	}
	return a
}

// distinct are the selectors whose content BuildKit hashes, sorted. It does not hash what
// is inside another: it then does not see what that is.
func distinct(sels []selector) (out []selector, ok bool) {
	for _, s := range sels {
		same := func(o selector) bool {
			return !o.filters() && !s.filters() && o.asked == s.asked && o.FollowLinks == s.FollowLinks
		}
		if !slices.ContainsFunc(out, same) {
			out = append(out, s)
		}
	}
	for _, s := range out {
		for _, o := range out {
			if !s.filters() && !o.filters() && s.FollowLinks == o.FollowLinks && s.asked != o.asked &&
				strings.HasPrefix(s.asked, strings.TrimSuffix(o.asked, "/")+"/") {
				return nil, false
			}
		}
	}
	slices.SortStableFunc(out, func(a, b selector) int { return cmp.Compare(a.asked, b.asked) })
	return out, true
}

func (s selector) filters() bool {
	return s.Wildcard || len(s.IncludePatterns) > 0 || len(s.ExcludePatterns) > 0
}

func buildKitContent(sels []selector) solver.ResultBasedCacheFunc {
	return func(ctx context.Context, res solver.Result) (digest.Digest, error) {
		ref, err := store.RefOf(res)
		if err != nil {
			return "", err
		}
		sums := make([]string, len(sels))
		for i, s := range sels {
			sum, err := contenthash.BuildKit(ctx, ref, s.Path, s.opt())
			if err != nil || sum == "" {
				return "", err
			}
			sums[i] = sum.String()
		}
		return digest.FromString(strings.Join(sums, "\x00")), nil
	}
}
