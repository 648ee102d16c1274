package usernet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// makeNamespace makes a network namespace and has setup run in it. It is there as long
// as the file is open, or something is in it.
func makeNamespace(setup func() error) (file *os.File, err error) {
	err = onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace: %w", err)
		}
		if file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if err := setup(); err != nil {
			return errors.Join(err, file.Close())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return file, nil
}

// within runs f in a namespace.
func within(ns *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// onThread runs f on a thread of its own, which ends afterwards: nothing else ever
// runs in the namespace that f has put it into. It is never the main thread, which
// would stay, and which is what /proc/self shows of the process.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onThread(f) // on another thread, since this one is taken
			runtime.UnlockOSThread()
			return
		}
		done <- f()
		// Not unlocked: so the thread ends with the goroutine.
	}()
	return <-done
}

// sysctl sets a variable below /proc/sys/net of the namespace of this thread. One that
// is not there, because the kernel has no IPv6, stays so.
func sysctl(name, value string) error {
	err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
