package progress_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/internal/check"
)

func TestVisible(t *testing.T) {
	for text, want := range map[string]string{
		"plain\ttext, ünïcode\n": "plain\ttext, ünïcode\n",
		"dos\r\nlines":           "dos\nlines",
		"over\rwritten":          `over\u000dwritten`,
		"\x1b[2J\x1b]0;title\a":  `\u001b[2J\u001b]0;title\u0007`,
		"\u009b31m\x7f":          `\u009b31m\u007f`,
		"bad \x9b bytes":         "bad \ufffd bytes",
		"turned \u202eback":      `turned \u202eback`,
	} {
		check.Equal(t, text, progress.Visible(text), want)
	}
	// JSON stays what it is.
	dt, err := json.Marshal("\x7f\u009b\u202e")
	check.OK(t, err)
	var back string
	check.OK(t, json.Unmarshal([]byte(progress.Visible(string(dt))), &back))
	check.Equal(t, "JSON", back, "\x7f\u009b\u202e")
}

func TestBounded(t *testing.T) {
	short := strings.Repeat("a line\n", 1000)
	check.Equal(t, "short lines", progress.Bounded(short), short)
	long := progress.Bounded("first\n" + strings.Repeat("ü", 5000) + "\nlast")
	check.Equal(t, "a long line", long, "first\n"+strings.Repeat("ü", progress.MaxLine)+"… (and 1808 bytes more)\nlast")
	all := progress.Bounded(strings.Repeat("\x1bü\n", 1<<20))
	if len(all) > 4*progress.MaxText || !utf8.ValidString(all) || strings.Contains(all, "\x1b") || !strings.HasSuffix(all, "bytes more)") {
		t.Errorf("%d bytes, ending with %q", len(all), all[len(all)-40:])
	}
}
