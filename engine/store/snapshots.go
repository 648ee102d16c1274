package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// cleanSnapshots removes the directories of which a snapshotter does not know, and
// which are in its way when it comes to the same number again: those that were
// being made, or removed, when a process died. It must not be open yet. It returns
// the keys of those that are known, by the names of their directories.
func cleanSnapshots(dir string) (known map[string]string, err error) {
	entries, err := os.ReadDir(filepath.Join(dir, "snapshots"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	known = map[string]string{}
	s := shelf{names: map[string]nameEntry{}}
	if err := readBolt(filepath.Join(dir, "metadata.db"), s.readNames); err != nil {
		return nil, err
	}
	for name, n := range s.names {
		known[strconv.FormatUint(n.id, 10)] = name
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
