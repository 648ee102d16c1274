package contenthash

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/moby/patternmatcher"
)

// filter chooses paths below the one that is asked for, as a copy with the same
// patterns does.
type filter struct {
	include, exclude *patternmatcher.PatternMatcher // nil: all are included, none excluded
}

// newFilter returns nil if nothing is filtered.
func newFilter(include, exclude []string) (*filter, error) {
	if len(include) == 0 && len(exclude) == 0 {
		return nil, nil
	}
	f := &filter{}
	var err error
	if len(include) > 0 {
		if f.include, err = patternmatcher.New(include); err != nil {
			return nil, fmt.Errorf("include patterns %q: %w", include, err)
		}
	}
	if len(exclude) > 0 {
		if f.exclude, err = patternmatcher.New(exclude); err != nil {
			return nil, fmt.Errorf("exclude patterns %q: %w", exclude, err)
		}
	}
	return f, nil
}

// matched is what the patterns said about a path. What they say about what is below
// it builds on that.
type matched struct {
	include, exclude patternmatcher.MatchInfo
	included         bool // by include
	excluded         bool // by exclude
}

func (f *filter) match(p string, parent matched) (m matched, err error) {
	m.included = true
	if f.include != nil {
		if m.included, m.include, err = f.include.MatchesUsingParentResults(p, parent.include); err != nil {
			return m, fmt.Errorf("matching %q with the include patterns: %w", p, err)
		}
	}
	if f.exclude != nil {
		if m.excluded, m.exclude, err = f.exclude.MatchesUsingParentResults(p, parent.exclude); err != nil {
			return m, fmt.Errorf("matching %q with the exclude patterns: %w", p, err)
		}
	}
	return m, nil
}

// below says whether something below a directory can still be chosen. It may say
// yes too often.
func (f *filter) below(p string, m matched) bool {
	if m.excluded && !f.exclude.Exclusions() {
		return false
	}
	if m.included {
		return true
	}
	for _, pattern := range f.include.Patterns() {
		if !pattern.Exclusion() && mayMatchBelow(pattern.String(), p) {
			return true
		}
	}
	return false
}

// mayMatchBelow compares literal components only: what is special in a pattern is
// taken to match.
func mayMatchBelow(pattern, dir string) bool {
	have := strings.Split(dir, "/")
	for i, want := range strings.Split(pattern, "/") {
		if i == len(have) {
			return true
		}
		if strings.Contains(want, "**") {
			return true
		}
		if strings.ContainsAny(want, `*?[]\^`) {
			continue
		}
		if want != have[i] {
			return false
		}
	}
	return true
}

// picked is a node with what was chosen below it. A directory that does not match
// itself is there if something below it is.
type picked struct {
	n    *node
	kids []*picked
}

// pick chooses from n and below. What was asked for itself is always chosen.
func (t *tree) pick(ctx context.Context, d disk, f *filter, n *node) (*picked, error) {
	kids, err := t.pickBelow(ctx, d, f, n, "", matched{})
	if err != nil {
		return nil, err
	}
	return &picked{n: n, kids: kids}, nil
}

func (t *tree) pickBelow(ctx context.Context, d disk, f *filter, n *node, rel string, parent matched) (kids []*picked, err error) {
	if err := t.list(ctx, d, n); err != nil {
		return nil, err
	}
	for _, c := range n.children {
		p := path.Join(rel, c.name)
		m, err := f.match(p, parent)
		if err != nil {
			return nil, err
		}
		one := &picked{n: c}
		if c.kind == Dir && f.below(p, m) {
			if one.kids, err = t.pickBelow(ctx, d, f, c, p, m); err != nil {
				return nil, err
			}
		}
		if (m.included && !m.excluded) || len(one.kids) > 0 {
			kids = append(kids, one)
		}
	}
	return kids, nil
}

// has says whether a path below p was chosen.
func (p *picked) has(rel string) bool {
	for _, part := range components(path.Join("/", rel)) {
		if part == "" {
			continue
		}
		var next *picked
		for _, k := range p.kids {
			if k.n.name == part {
				next = k
			}
		}
		if next == nil {
			return false
		}
		p = next
	}
	return true
}

func (p *picked) unknown(to *[]*node) {
	if !p.n.known {
		*to = append(*to, p.n)
	}
	for _, k := range p.kids {
		k.unknown(to)
	}
}

// total is as node's. Where nothing was left out it is the same.
func (p *picked) total() Sum {
	if p.n.kind != Dir {
		return p.n.header
	}
	return SumDir(p.n.header, func(yield func(string, Sum) bool) {
		for _, k := range p.kids {
			if !yield(k.n.name, k.total()) {
				return
			}
		}
	})
}

// HasWildcard says whether a path, or a component of one, is more than literal for a
// copy that allows wildcards: whether it has a *, a ? or a [ that no backslash is
// before. What copies must decide it as Checksum does.
func HasWildcard(p string) bool {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}

// match is a path that a wildcard matched.
type match struct {
	n *node
	// name is the path below the literal part of the pattern.
	name string
}

// expand finds what a pattern matches, in the order of a walk. The components before
// the first with a wildcard are literal, and links in them are followed. Each of the
// others matches one name, as path.Match does; no links are followed there.
func (t *tree) expand(ctx context.Context, d disk, pattern string) ([]match, error) {
	parts := components(path.Join("/", pattern))
	literal := 0
	for literal < len(parts) && !HasWildcard(parts[literal]) {
		literal++
	}
	base, err := t.resolve(ctx, d, strings.Join(parts[:literal], "/"), true)
	if err != nil || base == nil {
		return nil, err
	}
	return t.expandBelow(ctx, d, match{n: base}, parts[literal:])
}

func (t *tree) expandBelow(ctx context.Context, d disk, at match, parts []string) (found []match, err error) {
	if err := t.list(ctx, d, at.n); err != nil {
		return nil, err
	}
	for _, c := range at.n.children {
		ok, err := path.Match(parts[0], c.name)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", parts[0], err)
		}
		m := match{n: c, name: path.Join(at.name, c.name)}
		switch {
		case !ok:
		case len(parts) == 1:
			found = append(found, m)
		case c.kind == Dir:
			more, err := t.expandBelow(ctx, d, m, parts[1:])
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		}
	}
	return found, nil
}
