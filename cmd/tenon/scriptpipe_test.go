package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptWaits: waits PIPE program args... starts a program, interrupts it when it has
// the pipe open, and checks that it ends by itself. The pipe is "full", which nobody
// empties, or another, which nobody writes to.
func scriptWaits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: waits PIPE program args...")
	}
	path := ts.MkAbs(args[0])
	pipe, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	ts.Check(err)
	defer syscall.Close(pipe)
	for err == nil && args[0] == "full" {
		_, err = syscall.Write(pipe, make([]byte, 4096))
	}
	if err != nil && !errors.Is(err, syscall.EAGAIN) {
		ts.Fatalf("filling the pipe: %v", err)
	}
	cmd := scriptCommand(ts, args[1:])
	said := &bytes.Buffer{}
	cmd.Stderr = said
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	late := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	interrupted := false
	for {
		select {
		case err := <-ended:
			if !interrupted {
				ts.Fatalf("it ended without waiting for %s: %v\n%s", args[0], err, said)
			}
			checkExit(ts, err, []int{130}, said.String())
			if strings.Contains(said.String(), "did not end") {
				ts.Fatalf("it was given up:\n%s", said)
			}
			return
		case <-tick.C:
			if !interrupted && hasOpen(path) {
				interrupted = true
				ts.Check(cmd.Process.Signal(syscall.SIGINT))
			}
		case <-late:
			_ = cmd.Process.Kill()
			ts.Fatalf("it does not end: %v\n%s", <-ended, said)
		}
	}
}

// hasOpen says whether another process has opened a file; what it was started with does
// not count.
func hasOpen(path string) bool {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		at, err := os.Readlink(fd)
		proc := strings.Split(fd, "/")[2]
		if n, _ := strconv.Atoi(filepath.Base(fd)); err == nil && at == path && n > 2 && proc != strconv.Itoa(os.Getpid()) {
			return true
		}
	}
	return false
}
