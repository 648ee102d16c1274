package store

import (
	"context"
	"errors"
	"io"
	"testing"
)

// endless is what never ends, and cancels when it has been read some times.
type endless struct {
	left   int
	cancel func()
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left--; e.left == 0 {
		e.cancel()
	}
	return len(p), nil
}

// What a layer has behind the end of its archive is read until the build is cancelled.
func TestUntil(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	r := &endless{left: 3, cancel: func() { cancel(why) }}
	if _, err := io.Copy(io.Discard, until{ctx, r}); !errors.Is(err, why) || r.left != 0 {
		t.Errorf("%v, with %d reads left", err, r.left)
	}
}
