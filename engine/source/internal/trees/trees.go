// Package trees makes the trees of sources: by writing into a folder.
package trees

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenonbuild/tenon/engine/store"
)

// Write makes a tree of what fill puts into an empty folder. The Ref is the
// caller's.
func Write(ctx context.Context, st *store.Store, opt store.NewOptions, fill func(dir string) error) (*store.Ref, error) {
	m, err := st.New(ctx, nil, opt)
	if err != nil {
		return nil, err
	}
	if err := mounted(ctx, m, false, fill); err != nil {
		// Also a build that was cancelled gives the room back.
		return nil, errors.Join(err, m.Release(context.WithoutCancel(ctx)))
	}
	return m.Commit(ctx)
}

// Read calls look with the folder at which a tree is mounted, read-only.
func Read(ctx context.Context, ref *store.Ref, look func(dir string) error) error {
	return mounted(ctx, ref, true, look)
}

func mounted(ctx context.Context, what store.Tree, readonly bool, use func(dir string) error) (err error) {
	dir, unmount, err := store.MountLocal(ctx, what, readonly)
	if err != nil {
		return fmt.Errorf("a source's tree: %w", err)
	}
	defer func() { err = errors.Join(err, unmount()) }()
	return use(dir)
}
