// Package mountns gives a process a mount namespace of its own, so that nobody else on
// the machine sees what it mounts, and nothing of it stays mounted when the process is
// killed.
//
// A process has threads before it runs a line of Go, and a namespace of mounts is a
// thread's. So the program is started again in the same process, by the one thread that
// has the namespace.
package mountns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// marker is the environment variable that says which process has which namespace. It
// is believed only where both are true. Who can set it to that can only do without.
const marker = "TENON_MOUNT_NAMESPACE"

// Enter starts the program again in a mount namespace of its own, with the same
// arguments and environment, and does not return; umask is what the program begins
// with. There it returns nil at once. It is called early by a main function: nothing
// has been read from standard input by then, and no file is open that is needed later.
//
// What is mounted and unmounted on the machine later is seen in the namespace (its
// mounts are slaves: mount_namespaces(7)). What is mounted in it, the machine does not
// see.
//
// Errors: the process may not, which takes CAP_SYS_ADMIN, as mounting does; there is no
// /proc. The process then is as it was.
func Enter(umask int) error {
	self, err := identity()
	if err != nil {
		return fmt.Errorf("a mount namespace: %w", err)
	}
	if os.Getenv(marker) == self {
		// Children are not to take it for theirs. The name is that of a file by now.
		return errors.Join(os.Unsetenv(marker), os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0))
	}
	if err := os.Unsetenv(marker); err != nil { // another process's
		return err
	}
	var g errgroup.Group
	g.Go(func() error { return again(umask) })
	return fmt.Errorf("a mount namespace: %w", g.Wait())
}

// again returns only with an error. Then the thread is not used any more: it is locked.
func again(umask int) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return &os.PathError{Op: "mount --make-rslave", Path: "/", Err: err}
	}
	self, err := identity()
	if err != nil {
		return err
	}
	old := unix.Umask(umask)
	defer unix.Umask(old)
	err = unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), marker+"="+self))
	return fmt.Errorf("starting this program again: %w", err)
}

// identity names this process and the namespace of this thread.
func identity() (string, error) {
	ns, err := os.Readlink("/proc/thread-self/ns/mnt")
	return fmt.Sprint(os.Getpid(), " ", ns), err
}
