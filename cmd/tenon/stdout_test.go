package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/console"

	"github.com/tenonbuild/tenon/engine/export"
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
