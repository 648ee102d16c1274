package filetrees

import (
	"context"
	"fmt"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/treediff"
)

// dir is a path of a tree that is kept: a directory, or what is none. It implements
// treediff.Tree.
type dir struct {
	store    *Store
	name     string
	entry    contenthash.Entry
	sum      contenthash.Sum // of a directory that is not the top
	top      bool
	loaded   bool // children are known
	children []*dir
}

// Entry implements treediff.Tree.
func (d *dir) Entry(context.Context) (*contenthash.Entry, error) { return &d.entry, nil }

// Sum implements treediff.Tree.
func (d *dir) Sum() (contenthash.Sum, bool) {
	if d.entry.Kind != contenthash.Dir {
		return d.entry.Sum(), true
	}
	return d.sum, !d.top
}

// Children implements treediff.Tree.
func (d *dir) Children(ctx context.Context) ([]treediff.Child, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if !d.loaded && d.entry.Kind == contenthash.Dir {
		list, err := d.store.read(d.store.sub(d.sum))
		if err != nil {
			return nil, fmt.Errorf("directory %q: %w", d.name, err)
		}
		d.children, d.loaded = list, true
	}
	out := make([]treediff.Child, len(d.children))
	for i, c := range d.children {
		out[i] = treediff.Child{Name: c.name, Tree: c}
	}
	return out, nil
}
