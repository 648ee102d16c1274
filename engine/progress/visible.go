package progress

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds of what is said to people, where names are repeated that strangers chose:
// runes of a line, and bytes of all.
const (
	MaxLine = 4096
	MaxText = 64 << 10
)

// Visible makes a text fit for a terminal, whoever wrote what is in it: control
// characters, and those that turn the direction of writing, are shown as JSON writes
// them (\u001b), so that JSON stays what it is. Lines end with "\n"; tabs stay.
func Visible(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	if strings.IndexFunc(text, unseen) < 0 && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for _, r := range text { // what is no UTF-8 becomes U+FFFD
		if unseen(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// inLine replaces what Visible leaves.
var inLine = strings.NewReplacer("\n", `\u000a`, "\t", `\u0009`)

// VisibleLine is Visible for what stands in a line, such as a name: it has no end of a line
// and no tab, and is within MaxLine.
func VisibleLine(text string) string { return boundedLine(inLine.Replace(Visible(text))) }

// Grouped is a number as people write it: 1,204.
func Grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// unseen says whether a rune does something to a terminal but show itself.
func unseen(r rune) bool {
	turns := r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x061c
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || turns || r == 0x2028 || r == 0x2029)
}

// Bounded is Visible within MaxLine and MaxText. It says what was left out.
func Bounded(text string) string {
	rest := 0
	if len(text) > MaxText {
		text, rest = text[:MaxText], len(text)-MaxText
	}
	text = Visible(text)
	if len(text) > MaxLine {
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			lines[i] = boundedLine(line)
		}
		text = strings.Join(lines, "\n")
	}
	if rest > 0 {
		text += fmt.Sprintf("… (and %d bytes more)", rest)
	}
	return text
}

func boundedLine(line string) string {
	runes := 0
	for i := range line {
		if runes++; runes > MaxLine {
			return fmt.Sprintf("%s… (and %d bytes more)", line[:i], len(line)-i)
		}
	}
	return line
}
