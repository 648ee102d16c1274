package filediff

import (
	"fmt"
	"strings"

	"github.com/tenonbuild/tenon/engine/progress"
)

// String is the finding for people, fit for a terminal: a line, and where there is text of
// it two more, which begin with - and +.
func (f Finding) String() string {
	if len(f.Members) == 0 {
		return f.what()
	}
	names := make([]string, len(f.Members))
	for i, m := range f.Members {
		names[i] = shown(m)
	}
	return strings.Join(names, " > ") + ": " + f.what()
}

func (f Finding) what() string {
	switch f.Kind {
	case Added:
		return "added"
	case Removed:
		return "removed"
	case Order:
		return fmt.Sprintf("the order of members: %s where %s was", shown(f.New), shown(f.Old))
	case Unreadable:
		return "differs, and cannot be read: " + shown(f.New)
	case Compression:
		return "the same content, compressed in another way"
	case Longer:
		return fmt.Sprintf("%s → %s bytes, the same up to byte %s", f.Old, f.New, grouped(f.Offset))
	case Header:
		return fmt.Sprintf("%s %s → %s", f.Field, orNone(f.Old), orNone(f.New))
	}
	return f.bytes()
}

func (f Finding) bytes() string {
	s := "from byte " + grouped(f.Offset)
	if f.Line > 0 {
		s += fmt.Sprintf(" (line %s)", grouped(int64(f.Line)))
	}
	switch {
	case f.Count == 1:
		s += ", 1 byte differs"
	case f.Count > 1:
		s += fmt.Sprintf(", %s bytes differ", grouped(f.Count))
	default:
		s += " on"
	}
	if f.Old != "" || f.New != "" {
		s += fmt.Sprintf("\n- %s\n+ %s", shown(f.Old), shown(f.New))
	}
	return s
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return shown(s)
}

func shown(s string) string { return progress.VisibleLine(s) }

func grouped(n int64) string { return progress.Grouped(n) }
