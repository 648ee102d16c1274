// Command tenon builds images and other trees of files from Dockerfiles and LLB,
// in one process, without a daemon.
package main

import (
	"os"
	"syscall"

	"github.com/tenonbuild/tenon/engine/mountns"
	"github.com/tenonbuild/tenon/internal/stream"
)

func main() { os.Exit(run()) }

// run is main with an exit code, so that what is deferred happens.
func run() int {
	// What is in a result must not depend on the caller's umask. What is made for the
	// caller does: see cli.umask.
	umask := syscall.Umask(0)
	var seen error
	asBuildctl := isBuildctl(os.Args[0])
	if !asBuildctl { // which mounts nothing
		seen = isolate(os.Args[1:], func() error { return mountns.Enter(umask) })
	}
	ctx, ends := interruptible(grace, abandon)
	defer ends.stop()
	c := &cli{in: stream.NewReader(ctx, os.Stdin), out: stream.NewWriter(ctx, os.Stdout), err: forPeople{output{os.Stderr, ends.unread}, true}, env: os.LookupEnv, umask: umask, seen: seen, asBuildctl: asBuildctl}
	return c.main(ctx, os.Args[1:])
}
