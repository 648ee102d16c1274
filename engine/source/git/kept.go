package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/regular"
)

// noteFile is a file of ours in a bare repository: what people call the remote. Its
// time is that of the last use.
const noteFile = "tenon-remote"

// maxNote is how many bytes of a note are read.
const maxNote = 4096

// note notes in the repository at dir, if there is one, whose it is, and that it is
// used now.
func (b *bare) note(dir string) error {
	path := filepath.Join(dir, noteFile)
	now := time.Now()
	err := os.Chtimes(path, now, now)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(path, []byte(b.spec.remote), 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("git source: %w", err)
	}
	return nil
}

// repositories are what a Source keeps: see store.Kept. A part is a bare repository,
// and its ID the name of its directory.
type repositories struct{ *Source }

// repositoryName is what withRepo names directories.
var repositoryName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// List implements store.Kept.
func (r repositories) List(ctx context.Context) ([]store.UsageInfo, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []store.UsageInfo
	for _, e := range entries {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !repositoryName.MatchString(e.Name()) {
			continue
		}
		u, err := r.usage(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

func (r repositories) usage(name string) (store.UsageInfo, error) {
	dir := filepath.Join(r.dir, name)
	u := store.UsageInfo{ID: name, Type: store.TypeGitRepo, Description: "git repository", InUse: r.locks.taken(name)}
	made, err := os.Stat(filepath.Join(dir, "config")) // written when it is made, only
	if errors.Is(err, fs.ErrNotExist) {
		made, err = os.Stat(dir) // it is damaged
	}
	if err != nil {
		return u, err
	}
	u.CreatedAt, u.LastUsedAt = made.ModTime(), made.ModTime()
	note := filepath.Join(dir, noteFile)
	if fi, err := os.Lstat(note); err == nil && fi.Mode().IsRegular() {
		u.LastUsedAt = fi.ModTime()
	}
	if remote, err := regular.Read(note, maxNote); err == nil { // what cannot be read says nothing
		u.Description += " " + string(remote)
	}
	u.Size, err = store.SizeOf(dir)
	return u, err
}

// Remove implements store.Kept. Whoever uses the repository next fetches it anew.
func (r repositories) Remove(_ context.Context, name string) (bool, error) {
	if !repositoryName.MatchString(name) {
		return false, nil
	}
	unlock, ok := r.locks.tryLock(name)
	if !ok {
		return false, nil
	}
	defer unlock()
	// Out of the way first: half of one would be taken for a damaged one.
	tmp, err := os.MkdirTemp(r.dir, "tmp-")
	if err != nil {
		return false, err
	}
	err = os.Rename(filepath.Join(r.dir, name), filepath.Join(tmp, "bare"))
	removed := err == nil
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return removed, errors.Join(err, os.RemoveAll(tmp))
}
