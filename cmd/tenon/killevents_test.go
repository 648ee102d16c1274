package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/internal/check"
)

// killWatched are folders whose changes are events, if they are there when a command
// begins.
var killWatched = []string{
	"tmp", "out", "out/dir", "root", "root/mounts", "root/overlayfs", "root/overlayfs/snapshots", "root/native/snapshots", "root/content/ingest",
	"root/content/blobs/sha256", "root/state", "root/state/runtime", "root/state/runtime/names", "root/state/git", "root/state/http", "root/state/secrets",
}

// killRun is how a command ended.
type killRun struct {
	events int
	killed bool
}

// killer counts events, and kills at one of them.
type killer struct {
	at   int // 0 or less: never
	kill func()

	mu    sync.Mutex // guards what follows
	count int
	hit   bool // it was killed
}

func (k *killer) event() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.count++; k.count == k.at {
		k.hit = true
		k.kill()
	}
}

// now kills.
func (k *killer) now() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.hit = true
	k.kill()
}

// run runs a command, and kills it at an event. One that is not killed has to succeed.
func (w *killWorld) run(name string, at int) killRun {
	w.t.Helper()
	c := w.commands()[name]
	cmd := w.command(c.args...)
	if c.stdin != "" {
		f, err := os.Open(c.stdin)
		check.OK(w.t, err)
		defer f.Close()
		cmd.Stdin = f
	}
	r, wr, err := os.Pipe()
	check.OK(w.t, err)
	defer r.Close()
	cmd.Stdout, cmd.Stderr = wr, wr
	changes := w.changes()
	k := &killer{at: at, kill: func() { _ = cmd.Process.Kill() }}
	w.killer.Store(k)
	check.OK(w.t, cmd.Start())
	check.OK(w.t, wr.Close())
	var said bytes.Buffer
	var watching sync.WaitGroup
	watching.Go(func() {
		for sc := bufio.NewReader(r); ; {
			line, err := sc.ReadString('\n')
			said.WriteString(line)
			if err != nil {
				return
			}
			if k.event(); c.until != "" && strings.Contains(line, c.until) {
				k.now()
			}
		}
	})
	watching.Go(func() { eachChange(changes, k.event) })
	err = cmd.Wait()
	// What was left of it may have the pipe still: that is not waited for.
	past := time.Unix(1, 0)
	check.OK(w.t, changes.SetReadDeadline(past))
	if err != nil {
		check.OK(w.t, r.SetReadDeadline(past))
	}
	watching.Wait()
	check.OK(w.t, changes.Close())
	killed := k.hit && err != nil
	if err != nil && !killed {
		w.t.Fatalf("tenon %s: %v\n%s", strings.Join(c.args, " "), err, &said)
	}
	return killRun{k.count, killed}
}

// changes tells of changes in the folders that are watched.
func (w *killWorld) changes() *os.File {
	w.t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	check.OK(w.t, err)
	for _, dir := range killWatched {
		_, err := unix.InotifyAddWatch(fd, w.path(dir), unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVED_TO|unix.IN_MODIFY|unix.IN_CLOSE_WRITE|unix.IN_ATTRIB)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			w.t.Fatal(err)
		}
	}
	return os.NewFile(uintptr(fd), "changes")
}

// eachChange calls fn for each until the reading ends.
func eachChange(r io.Reader, fn func()) {
	buf := make([]byte, 1<<16)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return
		}
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			fn()
			at += unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(buf[at+12:]))
		}
	}
}
