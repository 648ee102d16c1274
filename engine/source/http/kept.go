package http

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/regular"
)

// notes are what the index at dir keeps: see store.Kept. They are small and many, and
// so one part. The files that they are of are trees, records of their own.
type notes struct{ dir string }

// notesID is the part's.
const notesID = "notes"

// List implements store.Kept.
func (n notes) List(context.Context) ([]store.UsageInfo, error) {
	paths, err := n.paths()
	if err != nil || len(paths) == 0 {
		return nil, err
	}
	u := store.UsageInfo{ID: notesID, Type: store.TypeHTTPNotes, Description: fmt.Sprintf("what servers said of %d files", len(paths))}
	for _, path := range paths {
		fi, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		size, err := store.SizeOf(path)
		if err != nil {
			return nil, err
		}
		u.Size += size
		if t := fi.ModTime(); t.After(u.LastUsedAt) {
			u.LastUsedAt = t
		}
		if t := fi.ModTime(); u.CreatedAt.IsZero() || t.Before(u.CreatedAt) {
			u.CreatedAt = t
		}
	}
	return []store.UsageInfo{u}, nil
}

// Remove implements store.Kept. What is noted from then on stays. Files are downloaded
// anew when they are next asked for, instead of asking whether they have changed.
func (n notes) Remove(_ context.Context, id string) (removed bool, err error) {
	if id != notesID {
		return false, nil
	}
	paths, err := n.paths()
	if err != nil {
		return false, err
	}
	var errs []error
	for _, path := range paths {
		err := os.RemoveAll(path)
		removed = removed || err == nil
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

func (n notes) paths() ([]string, error) { return regular.Glob(n.dir, "*.json") }
