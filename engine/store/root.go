package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/internal/regular"
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
	// Unfinished says that the root is being made or mended. A process that finds it does
	// so again, since not all of what is there can be relied upon.
	Unfinished bool `json:"unfinished,omitempty"`

	// lost says that the mark was not there, or could not be read, and is what the rest
	// of the root says.
	lost bool
}

// ForeignRootError says that a directory belongs to something else.
type ForeignRootError struct {
	Root string
	Has  string // a name in it
}

func (e *ForeignRootError) Error() string {
	return fmt.Sprintf("%s is not a root of Tenon, and not empty (there is %q): choose an empty or new directory", e.Root, e.Has)
}

// maxMark is how many bytes a version file may have.
const maxMark = 1 << 16

// checkRoot looks whether a directory is a root, or can become one. A mark of
// version 0 is that of a new root.
func checkRoot(root string) (rootMark, error) {
	name := filepath.Join(root, versionFile)
	dt, err := regular.Read(name, maxMark)
	if err == nil {
		return readMark(root, dt)
	}
	if fi, e := os.Lstat(name); e == nil && (!fi.Mode().IsRegular() || fi.Size() > maxMark) {
		return readMark(root, nil)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return rootMark{}, fmt.Errorf("root %s: %w", root, rootError(root, err))
	}
	if m := guessMark(root); m.lost {
		return m, nil
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
		return rootMark{}, &ForeignRootError{Root: root, Has: e.Name()}
	}
	return rootMark{}, nil
}

func readMark(root string, dt []byte) (rootMark, error) {
	var m rootMark
	if err := json.Unmarshal(dt, &m); err != nil || m.Tenon < 1 {
		if m := guessMark(root); m.lost {
			return m, nil
		}
		return rootMark{}, fmt.Errorf("%s cannot be read: it is damaged, or %s is not a root of Tenon: choose another root, or remove this one", filepath.Join(root, versionFile), root)
	}
	if m.Tenon > rootVersion {
		return rootMark{}, fmt.Errorf("root %s was written by a newer Tenon (layout %d, this one knows %d): use that one, or choose another root", root, m.Tenon, rootVersion)
	}
	return m, nil
}

// guessMark returns the mark of a root that has lost it, if that is what a directory is:
// it has all that a root has.
func guessMark(root string) rootMark {
	for _, name := range []string{overlayName, nativeName} {
		all := true
		for _, part := range []string{lockFile, contentDir, "metadata.db", filepath.Join(name, "snapshots")} {
			_, err := os.Lstat(filepath.Join(root, part))
			all = all && err == nil
		}
		if all {
			return rootMark{Tenon: rootVersion, Snapshotter: name, lost: true}
		}
	}
	return rootMark{}
}

// begin says in the root that it is being made or mended, until finish.
func (s *Store) begin() error {
	if s.mark.Unfinished {
		return nil
	}
	s.mark.Unfinished = true
	return s.writeMark()
}

// finish makes the names in a root last that was made or mended. From then on what is
// committed in it lasts.
func (s *Store) finish() error {
	if !s.mark.Unfinished {
		return nil
	}
	for _, dir := range []string{filepath.Join(contentDir, "blobs"), contentDir, s.mark.Snapshotter, ""} {
		if err := syncDir(filepath.Join(s.root, dir)); err != nil {
			return err
		}
	}
	for above := filepath.Dir(s.root); ; above = filepath.Dir(above) {
		_ = syncDir(above) // what we may not open, or cannot be synced, was there before
		if above == filepath.Dir(above) {
			break
		}
	}
	s.mark.Unfinished = false
	return s.writeMark()
}

func (s *Store) writeMark() error {
	dt, err := json.Marshal(s.mark)
	if err == nil {
		err = writeSynced(filepath.Join(s.root, versionFile), append(dt, '\n'))
	}
	if err != nil {
		return fmt.Errorf("root %s: %w", s.root, rootError(s.root, err))
	}
	return nil
}

// markAside puts a mark aside that cannot be read.
func (s *Store) markAside() error {
	name := filepath.Join(s.root, versionFile)
	aside, err := setAside(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.tell(fmt.Sprintf("%s is missing. It was made again", name))
	case err != nil:
		return fmt.Errorf("root %s: %w", s.root, rootError(s.root, err))
	default:
		s.tell(fmt.Sprintf("%s is damaged. It was moved to %s, and made again", name, aside))
	}
	return nil
}

// writeSynced writes a file that is there whole or not at all, whatever happens to the
// machine.
func writeSynced(name string, dt []byte) error {
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(dt)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes names in a directory last.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
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
