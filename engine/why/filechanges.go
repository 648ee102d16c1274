package why

import (
	"context"
	"path"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/treediff"
)

// Trees compares trees of files that are kept with builds.
type Trees interface {
	// Compare says how a source's tree became another's. Both are named by what the source
	// is cached by (Step.Ops). An error says that one of them is not kept.
	Compare(ctx context.Context, old, now digest.Digest) (*treediff.Diff, error)
}

// maxFiles is how many changed files a cause names.
const maxFiles = 100

// unchanged is what is said of a source of which no file that is used differs.
const unchanged = "no file that is kept of it differs"

// fileChanges finds out which files changed, once for two trees.
type fileChanges struct {
	ctx   context.Context
	trees Trees
	known map[[2]digest.Digest]*treediff.Diff // nil if it cannot be known
}

func (f *fileChanges) diff(old, now digest.Digest) *treediff.Diff {
	at := [2]digest.Digest{old, now}
	if d, ok := f.known[at]; ok {
		return d
	}
	var d *treediff.Diff
	if f.trees != nil {
		if found, err := f.trees.Compare(f.ctx, old, now); err == nil {
			d = found
		}
	}
	f.known[at] = d
	return d
}

// between is the cause that files of a source have changed, those of some of its parts; nil
// stands for all.
func (f *fileChanges) between(old, now *Step, parts []Part) Cause {
	cause := Cause{Kind: Files, sources: [2]*Step{old, now}}
	if len(old.Ops) == 0 || len(now.Ops) == 0 {
		cause.Missing = "nobody asked what is in it"
		return cause
	}
	d := f.diff(old.Ops[0], now.Ops[0])
	if d == nil {
		cause.Missing = "the list of its files is not kept"
		return cause
	}
	for _, ch := range d.Changes {
		if !uses(parts, ch) {
			continue
		}
		if len(cause.Files) == maxFiles {
			cause.More++
			continue
		}
		cause.Files = append(cause.Files, ch)
	}
	cause.More += d.LeftOut
	if len(cause.Files) == 0 && cause.More == 0 {
		cause.Missing = unchanged
	}
	return cause
}

// uses says whether a change is in one of the parts of a tree. One of a directory on the way
// to a part is, if all below changed with it.
func uses(parts []Part, ch treediff.Change) bool {
	if len(parts) == 0 {
		return true
	}
	all := ch.Kind != treediff.Mode && ch.Kind != treediff.Owner && ch.Kind != treediff.Xattr
	for i := range parts {
		if parts[i].has(ch.Path, all) || ch.Kind == treediff.Renamed && parts[i].has(ch.Old, all) {
			return true
		}
	}
	return false
}

// has says whether a path is in the part; with above, also whether it leads to it.
func (p *Part) has(name string, above bool) bool {
	rel, in, leads := p.below(strings.TrimPrefix(path.Join("/", name), "/"))
	if !in {
		return leads && above
	}
	return rel == "" || chosen(rel, p.Include, p.Exclude)
}

// below returns where a path is below that of the part, if it is, or whether it leads there.
func (p *Part) below(name string) (rel string, in, leads bool) {
	base := strings.TrimPrefix(p.Path, "/")
	if base == "" {
		return name, true, false
	}
	if name == "" {
		return "", false, true
	}
	want, have := strings.Split(base, "/"), strings.Split(name, "/")
	for i, w := range want {
		if i == len(have) {
			return "", false, true
		}
		if w == have[i] {
			continue
		}
		if ok, err := path.Match(w, have[i]); !p.Wildcard || err != nil || !ok {
			return "", false, false
		}
	}
	return strings.Join(have[len(want):], "/"), true, false
}

func chosen(rel string, include, exclude []string) bool {
	if len(include) > 0 && !matches(rel, include) {
		return false
	}
	return len(exclude) == 0 || !matches(rel, exclude)
}

func matches(rel string, patterns []string) bool {
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return true // the frontend took them for something
	}
	yes, err := m.MatchesOrParentMatches(rel)
	return err != nil || yes
}
