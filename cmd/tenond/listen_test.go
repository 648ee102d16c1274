package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A socket is nobody else's before its owner and mode are set, though the process has no
// umask: who connects meanwhile would be let in.
func TestSocketOfItsOwner(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "s")
	l, err := ownSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", fi.Mode(), err)
	}
}
