// Command tenon builds images and other trees of files from Dockerfiles and LLB,
// in one process, without a daemon.
package main

import (
	"os"
	"syscall"

	"github.com/tenonbuild/tenon/engine/mountns"
)

func main() { os.Exit(run()) }

// run is main with an exit code, so that what is deferred happens.
func run() int {
	// What is in a result must not depend on the caller's umask. What is made for the
	// caller does: see cli.umask.
	umask := syscall.Umask(0)
	ctx, ends := interruptible(grace, abandon)
	defer ends.stop()
	c := &cli{in: &input{ctx: ctx, f: os.Stdin}, out: os.Stdout, err: forPeople{output{os.Stderr, ends.unread}, true}, env: os.LookupEnv, umask: umask}
	c.alone = func() error { return mountns.Enter(umask) }
	return c.main(ctx, os.Args[1:])
}
