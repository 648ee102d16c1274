//go:build unix

package logstore

import (
	"errors"

	"golang.org/x/sys/unix"
)

// lock takes the lock of an open file, and reports whether it was free.
func lock(fd uintptr) (bool, error) {
	err := unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// unlock gives the lock up also for the processes that have inherited the file.
func unlock(fd uintptr) error { return unix.Flock(int(fd), unix.LOCK_UN) }
