package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/errdefs"
)

// cleanSnapshots removes the directories of which a snapshotter does not know, and
// which are in its way when it comes to the same number again: those that were
// being made, or removed, when a process died. It must not be open yet. It returns
// the keys of those that are known, by the names of their directories.
func cleanSnapshots(ctx context.Context, dir string) (known map[string]string, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, "snapshots"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ms, err := storage.NewMetaStore(filepath.Join(dir, "metadata.db"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ms.Close()) }()
	err = ms.WithTransaction(ctx, false, func(ctx context.Context) (err error) {
		known, err = storage.IDMap(ctx)
		return err
	})
	if err != nil && !errdefs.IsNotFound(err) { // it has no bucket before its first snapshot
		return nil, err
	}
	for _, e := range entries {
		if _, ok := known[e.Name()]; ok {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, "snapshots", e.Name())); err != nil {
			return nil, fmt.Errorf("what a process that died has left: %w", err)
		}
	}
	return known, nil
}
