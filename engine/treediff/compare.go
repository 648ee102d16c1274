package treediff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tenonbuild/tenon/engine/contenthash"
)

const (
	// maxDepth is more than a path that Linux takes can have.
	maxDepth = 4096
	// minKept is how many changes are kept at least while renames are looked for.
	minKept = 8192
)

// Compare says how old became new. Nil is a tree that is not there. With an error comes
// what was found before it.
func Compare(ctx context.Context, old, new Tree, opt Options) (*Diff, error) {
	if opt.Limit <= 0 {
		opt.Limit = DefaultLimit
	}
	w := &walk{ctx: ctx, keep: opt.Limit}
	if opt.Renames {
		w.keep = max(w.keep, minKept)
	}
	err := w.pair(".", old, new, 0)
	if err == nil && opt.Renames {
		err = w.renames()
	}
	if more := len(w.found) - opt.Limit; more > 0 {
		w.found, w.leftOut = w.found[:opt.Limit], w.leftOut+more
	}
	return &Diff{Changes: w.found, LeftOut: w.leftOut}, err
}

// walk goes through two trees side by side.
type walk struct {
	ctx     context.Context
	keep    int // how many changes
	found   []Change
	leftOut int
}

func (w *walk) full() bool { return len(w.found) >= w.keep }

func (w *walk) add(c Change) {
	if w.full() {
		w.leftOut++
		return
	}
	w.found = append(w.found, c)
}

// pair compares what two trees have at a path.
func (w *walk) pair(path string, a, b Tree, depth int) error {
	switch {
	case a == nil && b == nil:
		return nil
	case a == nil:
		return w.single(path, Added, b)
	case b == nil:
		return w.single(path, Removed, a)
	case same(a, b):
		return nil
	case depth > maxDepth:
		return fmt.Errorf("comparing %s: it is more than %d directories deep", shown(path), maxDepth)
	}
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	was, err := a.Entry(w.ctx)
	if err != nil {
		return fmt.Errorf("comparing %s: %w", shown(path), err)
	}
	is, err := b.Entry(w.ctx)
	if err != nil {
		return fmt.Errorf("comparing %s: %w", shown(path), err)
	}
	c := Change{Path: path, OldTree: a, NewTree: b, OldEntry: was, NewEntry: is}
	if was.Kind != is.Kind {
		c.Kind, c.Old, c.New = Type, kinds[was.Kind], kinds[is.Kind]
		w.add(c)
		return nil
	}
	changed := headerChanges(was, is)
	if was.Kind == contenthash.File {
		equal, known, err := sameBytes(w.ctx, a, b, was, is)
		if err != nil {
			return fmt.Errorf("comparing %s: %w", shown(path), err)
		}
		if known && !equal {
			changed = slices.Insert(changed, 0, Change{Kind: Content, Old: strconv.FormatInt(was.Size, 10), New: strconv.FormatInt(is.Size, 10)})
		} else if !known && len(changed) > 0 {
			changed[0].BytesUnknown = true
		}
	}
	for _, one := range changed {
		c.Kind, c.Old, c.New, c.BytesUnknown = one.Kind, one.Old, one.New, one.BytesUnknown
		w.add(c)
	}
	if was.Kind != contenthash.Dir {
		return nil
	}
	return w.children(path, a, b, depth)
}

// single notes what only one of the trees has.
func (w *walk) single(path string, kind Kind, t Tree) error {
	if w.full() {
		w.leftOut++
		return nil
	}
	e, err := t.Entry(w.ctx)
	if err != nil {
		return fmt.Errorf("comparing %s: %w", shown(path), err)
	}
	if kind == Added {
		w.add(Change{Path: path, Kind: kind, New: kinds[e.Kind], NewTree: t, NewEntry: e})
	} else {
		w.add(Change{Path: path, Kind: kind, Old: kinds[e.Kind], OldTree: t, OldEntry: e})
	}
	return nil
}

// same says whether two trees are known to be equal without reading them.
func same(a, b Tree) bool {
	if x, ok := a.(*dir); ok {
		y, ok := b.(*dir)
		return ok && x.same(y)
	}
	was, known := a.Sum()
	is, known2 := b.Sum()
	return known && known2 && was == is
}

// children compares what is in two directories.
func (w *walk) children(path string, a, b Tree, depth int) error {
	before, err := sorted(w.ctx, a)
	if err != nil {
		return fmt.Errorf("comparing %s: %w", shown(path), err)
	}
	after, err := sorted(w.ctx, b)
	if err != nil {
		return fmt.Errorf("comparing %s: %w", shown(path), err)
	}
	for len(before) > 0 || len(after) > 0 {
		var x, y Child
		order := 0
		switch {
		case len(before) == 0:
			order = 1
		case len(after) == 0:
			order = -1
		default:
			order = cmp.Compare(before[0].Name, after[0].Name)
		}
		if order <= 0 {
			x, before = before[0], before[1:]
		}
		if order >= 0 {
			y, after = after[0], after[1:]
		}
		if x.Tree != nil && y.Tree != nil && same(x.Tree, y.Tree) {
			continue // before its path is made
		}
		if err := w.pair(join(path, cmp.Or(x.Name, y.Name)), x.Tree, y.Tree, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

var errTwice = errors.New("a directory has a name twice")

// sorted are the names in a directory by their bytes.
func sorted(ctx context.Context, t Tree) ([]Child, error) {
	all, err := t.Children(ctx)
	if err != nil {
		return nil, err
	}
	byName := func(a, b Child) int { return cmp.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(all, byName) {
		all = slices.SortedFunc(slices.Values(all), byName)
	}
	for i := 1; i < len(all); i++ {
		if all[i].Name == all[i-1].Name {
			return nil, errTwice
		}
	}
	return all, nil
}

// headerChanges are what differs in two entries of one kind, but for the bytes of files.
func headerChanges(was, is *contenthash.Entry) (all []Change) {
	add := func(kind Kind, old, new string) {
		if old != new {
			all = append(all, Change{Kind: kind, Old: old, New: new})
		}
	}
	if was.Kind != contenthash.Symlink {
		add(Mode, fmt.Sprintf("%04o", was.Mode), fmt.Sprintf("%04o", is.Mode))
	}
	add(Owner, fmt.Sprintf("%d:%d", was.UID, was.GID), fmt.Sprintf("%d:%d", is.UID, is.GID))
	add(Target, was.Target, is.Target)
	add(Device, device(was), device(is))
	all = append(all, xattrChanges(was.Xattrs, is.Xattrs)...)
	add(Time, timeOf(was), timeOf(is))
	return all
}

func device(e *contenthash.Entry) string { return fmt.Sprintf("%d:%d", e.Major, e.Minor) }

func timeOf(e *contenthash.Entry) string {
	if e.ModTime.IsZero() {
		return ""
	}
	return e.ModTime.UTC().Format(time.RFC3339Nano)
}

// xattrChanges leaves out the attributes that are no part of what a file is.
func xattrChanges(was, is map[string][]byte) (all []Change) {
	names := slices.AppendSeq(slices.Collect(maps.Keys(was)), maps.Keys(is))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		old, had := was[name]
		new, has := is[name]
		if !contenthash.KeepXattr(name) || had && has && string(old) == string(new) {
			continue
		}
		c := Change{Kind: Xattr}
		if had {
			c.Old = name
		}
		if has {
			c.New = name
		}
		all = append(all, c)
	}
	return all
}
