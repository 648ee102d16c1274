// Command tenon builds images and other trees of files from Dockerfiles and LLB,
// in one process, without a daemon.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

// run is main with an exit code, so that what is deferred happens.
func run() int {
	// What is in a result must not depend on the caller's umask. All that is written
	// elsewhere is given its mode.
	syscall.Umask(0)
	ctx, stop := interruptible()
	defer stop()
	c := &cli{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.LookupEnv}
	return c.main(ctx, os.Args[1:])
}

// interruptible returns a context that ends with the first interrupt, so that
// what is under way is cancelled and cleaned up. The second one kills the process.
func interruptible() (context.Context, func()) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from then on, a signal does what it does by default
	return ctx, stop
}
