package progress

import (
	"bytes"
	"io"
	"regexp"

	"github.com/moby/buildkit/util/progress/progressui"
)

// said is a line of a step that BuildKit's display without a terminal writes of a status which
// is a word about the step, and no work of it. What a step writes has a time after the number.
var said = regexp.MustCompile(`^#\d+ (?:` + Why + `.*|` + wordShared + `|` + wordNotNeeded + `)( done)\n$`)

// words writes what that display writes, a line at a time, without saying of words that they
// are done.
type words struct{ io.Writer }

// Write implements io.Writer.
func (w words) Write(dt []byte) (int, error) {
	line := dt
	if at := said.FindSubmatchIndex(dt); at != nil {
		line = append(bytes.Clone(dt[:at[2]]), '\n')
	}
	if _, err := w.Writer.Write(line); err != nil {
		return 0, err
	}
	return len(dt), nil
}

// NewPlain returns the display of BuildKit that is for no terminal.
func NewPlain(out io.Writer) (progressui.Display, error) {
	return progressui.NewDisplay(words{out}, progressui.PlainMode)
}
