package view

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed graph.js
	graphJS string
	//go:embed page.js
	listJS string

	pageJS = graphJS + listJS
)

// Page writes a page that shows a build, or two side by side. It is whole: it asks for nothing
// else.
func Page(w io.Writer, builds ...Build) error {
	if len(builds) != 1 && len(builds) != 2 {
		return errors.New("a page shows one build, or two")
	}
	// Marshal writes <, >, & and U+2028 and U+2029 as \u escapes: nothing in the data ends the
	// element that it is in.
	dt, err := json.Marshal(describe(builds))
	if err != nil {
		return err
	}
	_, err = strings.NewReplacer(
		"{{policy}}", policy(), "{{style}}", pageCSS, "{{script}}", pageJS, "{{data}}", string(dt),
	).WriteString(w, pageHTML)
	return err
}

// policy lets the page run its script, have its style, and nothing else.
func policy() string {
	return fmt.Sprintf("default-src 'none'; script-src '%s'; style-src '%s'; base-uri 'none'; form-action 'none'", hash(pageJS), hash(pageCSS))
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
