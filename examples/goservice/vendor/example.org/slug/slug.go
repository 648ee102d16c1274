// Package slug makes names for addresses from texts.
package slug

import (
	"strings"
	"unicode"
)

// Make returns the letters and digits of a text in lower case, with a dash for
// whatever is between them.
func Make(text string) string {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	return strings.Join(words, "-")
}
