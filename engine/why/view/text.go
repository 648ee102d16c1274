package view

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tenonbuild/tenon/engine/why"
)

// clip is the beginning of a text.
func clip(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// fit is the beginning of a text that is to have so many characters at most.
func fit(s string, n int) string {
	r := []rune(clip(s, 8*n))
	if len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return string(r)
}

// label is the name of a step on one line.
func label(s *why.Step) string { return clip(strings.Join(strings.Fields(s.Name), " "), 100) }

// place is where a step is in a Dockerfile; "" if it is in none.
func place(s *why.Step) string {
	if s.Place.Line <= 0 {
		return ""
	}
	return fmt.Sprintf("%s:%d", clip(s.Place.File, maxText), s.Place.Line)
}
