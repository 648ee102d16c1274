package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long a command may clean up when it has been interrupted.
const grace = 10 * time.Second

// interruption is a signal that ended a command, as the cause of its context. For
// whoever asks, the context was cancelled.
type interruption struct{ signal syscall.Signal }

func (i *interruption) Error() string        { return "interrupted by " + unix.SignalName(i.signal) }
func (i *interruption) Is(target error) bool { return target == context.Canceled }

// code is the exit code, as shells have it for a program that a signal has ended.
func (i *interruption) code() int { return 128 + int(i.signal) }

// interrupts are the signals that end a command, and what becomes of it then.
type interrupts struct {
	cancel context.CancelCauseFunc
	stops  []func()
}

// interruptible returns a context that ends with the first interrupt, or when the
// terminal is closed, so that what is under way is cancelled and cleaned up. That may
// take as long as limit; then overdue is called, from a goroutine of its own. The
// second interrupt kills the process. The caller stops what is returned.
func interruptible(limit time.Duration, overdue func(*interruption)) (context.Context, *interrupts) {
	ctx, cancel := context.WithCancelCause(context.Background())
	in := &interrupts{cancel: cancel}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if sig == syscall.SIGHUP && signal.Ignored(sig) {
			continue // as nohup has it
		}
		came, stop := signal.NotifyContext(context.Background(), sig)
		in.stops = append(in.stops, stop)
		context.AfterFunc(came, func() { cancel(&interruption{sig}) })
	}
	context.AfterFunc(ctx, func() {
		in.restore()
		if why, ok := context.Cause(ctx).(*interruption); ok {
			time.AfterFunc(limit, func() { overdue(why) })
		}
	})
	// To write where nobody reads is an error like others. By default it kills the
	// process, whatever it is doing. It is not ignored, which containers would inherit.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return ctx, in
}

// restore has signals do what they do by default.
func (in *interrupts) restore() {
	for _, stop := range in.stops {
		stop()
	}
}

// unread ends the context because nobody reads what is said any more.
func (in *interrupts) unread() { in.cancel(&interruption{syscall.SIGPIPE}) }

// stop ends the context, with nothing to clean up.
func (in *interrupts) stop() { in.cancel(nil) }

// abandon ends the process, whatever it waits for. What it leaves behind is like what
// a killed one leaves.
func abandon(why *interruption) {
	lastWords(os.Stderr, fmt.Sprintf("tenon: interrupted, but something did not end within %s: it is given up, and the next command cleans up\n", grace))
	os.Exit(why.code())
}

// lastWords writes a line, if that can be done at once: another goroutine may be
// writing, for ever.
func lastWords(f *os.File, line string) {
	fd := int(f.Fd())
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(fds, 0); err == nil && n == 1 && fds[0].Revents&unix.POLLOUT != 0 {
		_, _ = unix.Write(fd, []byte(line)) // there is nobody left to tell
	}
}
