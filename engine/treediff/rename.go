package treediff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/tenonbuild/tenon/engine/contenthash"
)

// likeness is what two paths must have in common for one to be the other, renamed.
type likeness struct {
	sum  contenthash.Sum
	name string
}

// renames makes one change of what was removed at a path and added at another.
func (w *walk) renames() error {
	removed, added := w.candidates()
	sums, err := w.sums(append(removed, added...))
	if err != nil {
		return err
	}
	moved := map[int]bool{} // what was removed
	for _, nameOf := range []func(Change) string{foldedPath, baseName, anyName} {
		pool := map[likeness][]int{}
		for _, i := range removed {
			if sum, ok := sums[i]; ok && !moved[i] {
				l := likeness{sum, nameOf(w.found[i])}
				pool[l] = append(pool[l], i)
			}
		}
		for _, i := range added {
			c := &w.found[i]
			sum, ok := sums[i]
			if !ok || c.Kind != Added {
				continue
			}
			l := likeness{sum, nameOf(*c)}
			if len(pool[l]) == 0 {
				continue
			}
			from := pool[l][0]
			pool[l], moved[from] = pool[l][1:], true
			was := w.found[from]
			c.Kind, c.Old, c.New, c.OldTree, c.OldEntry = Renamed, was.Path, c.Path, was.OldTree, was.OldEntry
		}
	}
	kept := w.found[:0]
	for i, c := range w.found {
		if !moved[i] {
			kept = append(kept, c)
		}
	}
	w.found = kept
	return nil
}

// candidates are the changes that may be two halves of a renaming: there are such of their
// type and size on both sides.
func (w *walk) candidates() (removed, added []int) {
	type shape struct {
		kind contenthash.Kind
		size int64
	}
	shapeOf := func(c Change) shape {
		e := cmp.Or(c.OldEntry, c.NewEntry)
		return shape{e.Kind, e.Size}
	}
	gone, come := map[shape]bool{}, map[shape]bool{}
	for _, c := range w.found {
		switch c.Kind {
		case Removed:
			gone[shapeOf(c)] = true
		case Added:
			come[shapeOf(c)] = true
		}
	}
	for i, c := range w.found {
		switch {
		case c.Kind == Removed && come[shapeOf(c)]:
			removed = append(removed, i)
		case c.Kind == Added && gone[shapeOf(c)]:
			added = append(added, i)
		}
	}
	return removed, added
}

// sums are those of changes whose trees have one.
func (w *walk) sums(changes []int) (map[int]contenthash.Sum, error) {
	sums := map[int]contenthash.Sum{}
	for _, i := range changes {
		c := w.found[i]
		t := c.OldTree
		if t == nil {
			t = c.NewTree
		}
		sum, err := sumOf(w.ctx, t, 0)
		if errors.Is(err, errUnknown) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("comparing %s: %w", shown(c.Path), err)
		}
		sums[i] = sum
	}
	return sums, nil
}

var errUnknown = errors.New("the bytes of a file are not known")

// sumOf is the sum of a tree, which is read where it is not known.
func sumOf(ctx context.Context, t Tree, depth int) (sum contenthash.Sum, err error) {
	if sum, known := t.Sum(); known {
		return sum, nil
	}
	if err := context.Cause(ctx); err != nil {
		return sum, err
	}
	if depth > maxDepth {
		return sum, fmt.Errorf("it is more than %d directories deep", maxDepth)
	}
	e, err := t.Entry(ctx)
	if err != nil {
		return sum, err
	}
	switch e.Kind {
	case contenthash.File:
		return sumOfFile(ctx, t, *e)
	case contenthash.Dir:
		return sumOfDir(ctx, t, e, depth)
	}
	return e.Sum(), nil
}

func sumOfFile(ctx context.Context, t Tree, e contenthash.Entry) (sum contenthash.Sum, err error) {
	if e.Content == sum {
		o, ok := t.(Opener)
		if !ok {
			return sum, errUnknown
		}
		if e.Content, err = sumUnder(ctx, o, &e); err != nil {
			return sum, err
		}
	}
	return e.Sum(), nil
}

func sumOfDir(ctx context.Context, t Tree, e *contenthash.Entry, depth int) (sum contenthash.Sum, err error) {
	children, err := sorted(ctx, t)
	if err != nil {
		return sum, err
	}
	all := make([]contenthash.Sum, len(children))
	for i, c := range children {
		if all[i], err = sumOf(ctx, c.Tree, depth+1); err != nil {
			return sum, err
		}
	}
	return contenthash.SumDir(e.Sum(), func(yield func(string, contenthash.Sum) bool) {
		for i, c := range children {
			if !yield(c.Name, all[i]) {
				return
			}
		}
	}), nil
}

// foldedPath finds what changed in case only.
func foldedPath(c Change) string { return strings.ToLower(c.Path) }

// baseName finds what was moved to another directory.
func baseName(c Change) string { return path.Base(c.Path) }

// anyName finds what has another name. There are many empty files, so that two of them
// being equal says nothing.
func anyName(c Change) string {
	e := cmp.Or(c.OldEntry, c.NewEntry)
	if e.Kind == contenthash.File && e.Size > 0 || e.Kind == contenthash.Dir {
		return ""
	}
	return baseName(c)
}
