package store

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Apart returns, of two trees that are overlays of the same folders but for the topmost,
// these two folders: what is in neither of them is the same in both trees. "" says that the
// trees are none such. In the folders are overlayfs's own notes: they are for finding names
// only.
func Apart(ctx context.Context, a, b Tree) (ownA, ownB string, err error) {
	x, err := overlaid(ctx, a)
	if err != nil {
		return "", "", err
	}
	y, err := overlaid(ctx, b)
	if err != nil || len(x) < 2 || len(y) < 2 || !slices.Equal(x[1:], y[1:]) {
		return "", "", err
	}
	return x[0], y[0], nil
}

// overlaid are the folders of a tree that is an overlay, the topmost first.
func overlaid(ctx context.Context, t Tree) (dirs []string, err error) {
	m, err := t.Mount(ctx, true)
	if err != nil {
		return nil, err
	}
	mounts, release, err := m.Mount()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if len(mounts) != 1 || mounts[0].Type != "overlay" {
		return nil, nil
	}
	for _, o := range mounts[0].Options {
		if lower, ok := strings.CutPrefix(o, "lowerdir="); ok {
			dirs = strings.Split(lower, ":")
		}
	}
	return dirs, nil
}
