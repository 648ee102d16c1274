package treediff

import (
	"fmt"
	"io"
	"strconv"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/progress"
)

// words name the kinds of changes where the kind alone would not be understood.
var words = map[Kind]string{Content: "modified"}

// String is the change in one line for people, fit for a terminal.
func (c Change) String() string {
	word := words[c.Kind]
	if word == "" {
		word = string(c.Kind)
	}
	line := fmt.Sprintf("%-8s  %s", word, c.detail())
	if c.BytesUnknown {
		line += " (its bytes may have changed, too: they are not kept)"
	}
	return line
}

func (c Change) detail() string {
	path := shown(c.Path)
	switch c.Kind {
	case Added:
		return path + what(c.New, c.NewEntry)
	case Removed:
		return path + what(c.Old, c.OldEntry)
	case Renamed:
		return shown(c.Old) + " → " + path
	case Content:
		return fmt.Sprintf("%s (%s)", path, sizes(c.Old, c.New))
	case Xattr:
		name := shown(c.Old)
		switch {
		case c.Old == "":
			return fmt.Sprintf("%s %s added", path, shown(c.New))
		case c.New == "":
			return fmt.Sprintf("%s %s removed", path, name)
		}
		return fmt.Sprintf("%s %s has another value", path, name)
	case Time:
		return fmt.Sprintf("%s %s → %s", path, timeWords(c.Old), timeWords(c.New))
	}
	return fmt.Sprintf("%s %s → %s", path, shown(c.Old), shown(c.New))
}

// what says what an added or removed path is.
func what(kind string, e *contenthash.Entry) string {
	switch {
	case kind == kinds[contenthash.Dir]:
		return "/"
	case e != nil && e.Kind == contenthash.File:
		return fmt.Sprintf(" (%s)", bytesOf(e.Size))
	}
	return fmt.Sprintf(" (%s)", kind)
}

func timeWords(t string) string {
	if t == "" {
		return "no time"
	}
	return t
}

// sizes has two sizes, or the one that both are.
func sizes(old, new string) string {
	if old == new {
		n, _ := strconv.ParseInt(old, 10, 64)
		return bytesOf(n)
	}
	a, _ := strconv.ParseInt(old, 10, 64)
	b, _ := strconv.ParseInt(new, 10, 64)
	return grouped(a) + " → " + bytesOf(b)
}

func bytesOf(n int64) string {
	if n == 1 {
		return "1 byte"
	}
	return grouped(n) + " bytes"
}

func grouped(n int64) string { return progress.Grouped(n) }

func shown(s string) string { return progress.VisibleLine(s) }

// Write writes the changes, a line each, and how many more there are.
func (d *Diff) Write(w io.Writer) error {
	for _, c := range d.Changes {
		if _, err := fmt.Fprintln(w, c); err != nil {
			return err
		}
	}
	if d.LeftOut > 0 {
		_, err := fmt.Fprintf(w, "and %s more\n", grouped(int64(d.LeftOut)))
		return err
	}
	return nil
}
