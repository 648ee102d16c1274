package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/tenonbuild/tenon/internal/regular"
)

// lockPoll is how often a process that waits looks whether the root is free:
// locks of files cannot be waited for and given up at the same time.
const lockPoll = 100 * time.Millisecond

// LockedError says that another process has the root.
type LockedError struct {
	// Root is the directory.
	Root string
	// Owner says who has it, for people: its process ID, its program and since when.
	Owner string
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("%s is in use by %s: wait for it to end, or choose another root", e.Root, e.Owner)
}

// owner is what is written into a lock file, where it stays. So the program's
// arguments are not in it: they may have passwords in them.
type owner struct {
	PID     int       `json:"pid"`
	Command string    `json:"command"`
	Since   time.Time `json:"since"`
}

// ownerOf reads who has a lock. The file may be half written, or someone else's.
func ownerOf(path string) string {
	dt, err := regular.Read(path, maxMark)
	if err != nil {
		return "another process"
	}
	var o owner
	if json.Unmarshal(dt, &o) != nil || o.PID <= 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d (%q, since %s)", o.PID, o.Command, o.Since.Local().Format("2006-01-02 15:04:05"))
}

// takeLock makes this process the owner of the root.
func takeLock(ctx context.Context, opt Options) (*flock.Flock, error) {
	path := filepath.Join(opt.Root, lockFile)
	// To open a pipe is to wait for its other end, and a link leads elsewhere. It is not
	// replaced: then two processes could have a lock each.
	if fi, err := os.Lstat(path); err == nil && !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file, and nobody can lock it: remove it, when no tenon runs", path)
	}
	// Nobody else may open it: who can may hold the lock.
	lock := flock.New(path, flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock of %s: %w", opt.Root, rootError(opt.Root, err))
	}
	if !ok {
		who := ownerOf(path)
		if opt.NoWait {
			return nil, &LockedError{Root: opt.Root, Owner: who}
		}
		if opt.Waiting != nil {
			opt.Waiting(who)
		}
		if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("gave up waiting: %w (%w)", &LockedError{Root: opt.Root, Owner: who}, context.Cause(ctx))
			}
			return nil, fmt.Errorf("lock of %s: %w", opt.Root, err)
		}
	}
	dt, err := json.Marshal(owner{PID: os.Getpid(), Command: filepath.Base(os.Args[0]), Since: time.Now()})
	if err == nil {
		err = os.WriteFile(path, append(dt, '\n'), 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock of %s: %w", opt.Root, err), lock.Unlock())
	}
	return lock, nil
}

// rootError adds a way out to an error about a root.
func rootError(root string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: no permission: run it as the owner of %s, or choose another root", err, root)
	}
	return err
}
