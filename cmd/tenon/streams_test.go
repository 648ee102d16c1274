package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sync/errgroup"
)

// Standard input is read to its end, however it comes, or until the command is
// interrupted.
func TestInput(t *testing.T) {
	r, w, err := os.Pipe()
	noError(t, err)
	defer r.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	in := &input{ctx: ctx, f: r}
	want := bytes.Repeat([]byte("0123456789"), 100_000)
	var g errgroup.Group
	g.Go(func() error {
		_, err := w.Write(want)
		return err
	})
	got := make([]byte, len(want))
	_, err = io.ReadFull(in, got)
	noError(t, err)
	noError(t, g.Wait())
	if !bytes.Equal(got, want) {
		t.Error("other bytes came than were written")
	}
	g.Go(func() error {
		_, err := in.Read(got) // for which nobody writes
		return err
	})
	interrupt()
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	noError(t, w.Close())
	if _, err := (&input{ctx: t.Context(), f: r}).Read(got); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

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
