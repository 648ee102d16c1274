package main

import (
	"bufio"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/console"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/store"
)

// An archive is not written to a terminal.
func TestArchiveOnTerminal(t *testing.T) {
	pty, name, err := console.NewPty()
	if err != nil {
		t.Skipf("this test needs a pseudo terminal: %v", err)
	}
	defer pty.Close()
	tty, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	noError(t, err)
	defer tty.Close()
	c := &cli{out: tty}
	for o, refused := range map[string]bool{
		"-": true, "type=oci": true, "type=docker,dest=-": true,
		"type=tar,dest=file.tar": false, "out": false, "type=oci,tar=false,dest=dir": false, "type=cacheonly": false,
	} {
		out, err := export.ParseOutput(o)
		noError(t, err)
		err = c.checkStandardOutput([]export.Output{out})
		if got := err != nil && strings.Contains(err.Error(), "terminal"); got != refused {
			t.Errorf("%s: %v", o, err)
		}
	}
}

// At a terminal a record takes one line, however long its description is.
func TestUsageFitsTerminal(t *testing.T) {
	for _, width := range []int{80, 120} {
		pty, name, err := console.NewPty()
		if err != nil {
			t.Skipf("this test needs a pseudo terminal: %v", err)
		}
		noError(t, pty.Resize(console.WinSize{Width: uint16(width), Height: 24}))
		tty, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
		noError(t, err)
		records := []store.UsageInfo{
			{ID: "abcdefghijklmnopq", Type: store.TypeCacheMount, Size: 123456789, Description: strings.Repeat("long ", 50)},
			{ID: "bbcdefghijklmnopq", Type: store.TypeLocalSource, Size: 1, Description: "short"},
		}
		noError(t, (&cli{out: tty}).du(&store.Usage{Records: records}, &duFlags{}))
		lines := bufio.NewScanner(pty)
		for range 1 + len(records) {
			if !lines.Scan() {
				t.Fatal(lines.Err())
			}
			line := strings.TrimRight(lines.Text(), "\r\n")
			if n := len([]rune(line)); n > width || strings.Contains(line, "long") && n != width {
				t.Errorf("%d columns: %d in %q", width, n, line)
			}
		}
		noError(t, tty.Close())
		noError(t, pty.Close())
	}
}
