package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// What is in a root beside the parts of containerd's: see the package comment.
const (
	lockFile    = "lock"
	versionFile = "version"
	stateDir    = "state"
	contentDir  = "content"
)

// rootVersion is the layout of a root that this code writes and reads. It changes
// when older code must not touch the root any more.
const rootVersion = 1

// rootMark is what is written into the version file.
type rootMark struct {
	Tenon       int    `json:"tenon"`
	Snapshotter string `json:"snapshotter"`
}

// checkRoot looks whether a directory is a root, or can become one. A mark of
// version 0 is that of a new root.
func checkRoot(root string) (rootMark, error) {
	dt, err := os.ReadFile(filepath.Join(root, versionFile))
	if err == nil {
		return readMark(root, dt)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return rootMark{}, fmt.Errorf("root %s: %w", root, rootError(root, err))
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return rootMark{}, fmt.Errorf("root %s: %w", root, rootError(root, err))
	}
	for _, e := range entries {
		switch e.Name() {
		case lockFile, versionFile + ".new", "lost+found":
			continue
		case stateDir:
			// Beside a lock it is from a process that ended before it had made the root.
			if _, err := os.Lstat(filepath.Join(root, lockFile)); err == nil {
				continue
			}
		}
		return rootMark{}, fmt.Errorf("%s is not a root of Tenon, and not empty (there is %q): choose an empty or new directory", root, e.Name())
	}
	return rootMark{}, nil
}

func readMark(root string, dt []byte) (rootMark, error) {
	var m rootMark
	if err := json.Unmarshal(dt, &m); err != nil || m.Tenon < 1 {
		return rootMark{}, fmt.Errorf("%s cannot be read: it is damaged, or %s is not a root of Tenon: choose another root, or remove this one", filepath.Join(root, versionFile), root)
	}
	if m.Tenon > rootVersion {
		return rootMark{}, fmt.Errorf("root %s was written by a newer Tenon (layout %d, this one knows %d): use that one, or choose another root", root, m.Tenon, rootVersion)
	}
	return m, nil
}

// markRoot makes a directory a root.
func markRoot(root string, m rootMark) error {
	dt, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("root %s: %w", root, err)
	}
	name := filepath.Join(root, versionFile)
	if err := os.WriteFile(name+".new", append(dt, '\n'), 0o644); err != nil {
		return fmt.Errorf("root %s: %w", root, rootError(root, err))
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("root %s: %w", root, rootError(root, err))
	}
	return nil
}

// makePrivate makes directories that nobody but their owner can look into, also where
// the root, which may have been there before, lets others in: images may be nobody
// else's business, and programs in them may be setuid. Containerd's snapshotters see
// to theirs.
func makePrivate(dirs ...string) error {
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o700); err != nil { // it may be there, and wide open
			return err
		}
	}
	return nil
}
