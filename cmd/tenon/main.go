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
	c := &cli{in: &input{ctx: ctx, f: os.Stdin}, out: os.Stdout, err: output{os.Stderr, stop}, env: os.LookupEnv}
	return c.main(ctx, os.Args[1:])
}

// interruptible returns a context that ends with the first interrupt, or when the
// terminal is closed, so that what is under way is cancelled and cleaned up. The
// second interrupt kills the process. Stop ends the context, too.
func interruptible() (_ context.Context, stop func()) {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	context.AfterFunc(ctx, stop) // from then on, a signal does what it does by default
	// To write where nobody reads is an error like others. By default it kills the
	// process, whatever it is doing. It is not ignored, which containers would inherit.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return ctx, stop
}
