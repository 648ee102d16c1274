package source_test

import (
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/source"
)

// An identifier that nothing serves is an error that quotes it.
func TestSetWithoutSource(t *testing.T) {
	for identifier, want := range map[string]string{"alpine": "has no scheme", "gopher://x": "gopher", "": "has no scheme"} {
		_, err := source.NewSet().For(identifier)
		if err == nil || !strings.Contains(err.Error(), want) || strings.HasSuffix(err.Error(), ".") {
			t.Errorf("%q: %v", identifier, err)
		}
	}
}
