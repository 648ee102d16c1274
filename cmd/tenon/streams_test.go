package main

import (
	"os"
	"testing"
)

// Who writes for somebody who has gone is told.
func TestOutput(t *testing.T) {
	r, w, err := os.Pipe()
	noError(t, err)
	defer w.Close()
	gone := 0
	out := output{w, func() { gone++ }}
	_, err = out.Write([]byte("x"))
	noError(t, err)
	noError(t, r.Close())
	if _, err := out.Write([]byte("x")); err == nil || gone != 1 {
		t.Errorf("%v, told %d times", err, gone)
	}
}
