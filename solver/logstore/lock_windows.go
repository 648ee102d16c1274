package logstore

import (
	"errors"

	"golang.org/x/sys/windows"
)

// A byte far behind the end of any file is locked.
var lockedByte = windows.Overlapped{OffsetHigh: 1 << 30}

func lock(fd uintptr) (bool, error) {
	at := lockedByte
	err := windows.LockFileEx(windows.Handle(fd), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}

func unlock(fd uintptr) error {
	at := lockedByte
	return windows.UnlockFileEx(windows.Handle(fd), 0, 1, 0, &at)
}
