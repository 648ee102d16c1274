package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// folders are the directories of a root, each before those that are in it.
func folders(snapshotter string) []string {
	return []string{
		stateDir, mountsDir, contentDir, filepath.Join(contentDir, "ingest"), filepath.Join(contentDir, "blobs"),
		filepath.Join(contentDir, "blobs", "sha256"), snapshotter, filepath.Join(snapshotter, "snapshots"),
	}
}

// mendFolders puts aside what is in the place of a directory and is none, before
// anybody opens it: a pipe would be waited for. Directories that are missing are made by
// those whose they are. A link to a directory is one.
func mendFolders(root, snapshotter string, tell func(string)) error {
	for _, dir := range folders(snapshotter) {
		if err := mendFolder(filepath.Join(root, dir), tell); err != nil {
			return err
		}
	}
	// What components have there, each has a directory of its own for.
	parts, err := os.ReadDir(filepath.Join(root, stateDir))
	if err != nil {
		return ifThere(err)
	}
	for _, e := range parts {
		if strings.Contains(e.Name(), damagedMark) {
			continue
		}
		if err := mendFolder(filepath.Join(root, stateDir, e.Name()), tell); err != nil {
			return err
		}
	}
	return nil
}

func mendFolder(name string, tell func(string)) error {
	fi, err := os.Lstat(name)
	if err != nil {
		return ifThere(err)
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		if fi, err = os.Stat(name); err != nil {
			// The disk that it leads to may be missing, with all that the root knows of.
			return fmt.Errorf("%s is a link that leads nowhere (%w): mount what it leads to; or remove it, which loses what was there", name, errors.Unwrap(err))
		}
	}
	if fi.IsDir() {
		return nil
	}
	aside, err := setAside(name)
	if err != nil {
		return err
	}
	tell(fmt.Sprintf("%s is no directory. It was moved to %s: what was in the directory is lost", name, aside))
	return nil
}

// removeFolders removes what is a directory among blobs: none of them is one.
func removeFolders(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ifThere(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
