package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/tenonbuild/tenon/engine/progress"
)

// output is a standard stream. Gone is called when nobody reads it any more.
type output struct {
	*os.File // a display looks for a terminal
	gone     func()
}

// Write implements io.Writer.
func (o output) Write(p []byte) (int, error) {
	n, err := o.File.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		o.gone()
	}
	return n, err
}

// forPeople is a stream of what is said to people. What strangers chose of it, such as names,
// does nothing to a terminal; with bounded it does not fill it, either.
type forPeople struct {
	io.Writer
	bounded bool
}

// Write implements io.Writer. It is given whole lines.
func (w forPeople) Write(p []byte) (int, error) {
	text := progress.Visible(string(p))
	if w.bounded {
		text = progress.Bounded(string(p))
		if strings.HasSuffix(string(p), "\n") && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
	}
	if _, err := io.WriteString(w.Writer, text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// text is standard output for what is said to people. What is asked for as it is, such as
// an archive, is written to c.out.
func (c *cli) text() io.Writer { return forPeople{Writer: c.out} }

// screen is the stream that progress is drawn on, with the output of steps.
func (c *cli) screen() io.Writer {
	if w, ok := c.err.(forPeople); ok {
		return w.Writer
	}
	return c.err
}

// spoken is standard output that remembers the first error of writing to it: what
// was asked for has then not arrived.
type spoken struct {
	io.Writer
	err error
}

// Write implements io.Writer.
func (s *spoken) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if err != nil && s.err == nil {
		s.err = &outputError{err}
	}
	return n, err
}

// outputError is an error of writing to standard output.
type outputError struct{ error }

func (e *outputError) Error() string { return "writing to standard output: " + e.error.Error() }
func (e *outputError) Unwrap() error { return e.error }
