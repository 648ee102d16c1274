package treediff_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenonbuild/tenon/engine/treediff"
)

// What changed between two directories.
func Example() {
	top, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(top)
	for path, text := range map[string]string{
		"old/src/main.go": "package main", "old/notes.txt": "first",
		"new/src/main.go": "package main // changed", "new/NOTES.txt": "first",
	} {
		path = filepath.Join(top, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			panic(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			panic(err)
		}
	}
	old, new := treediff.Dir(filepath.Join(top, "old"), false), treediff.Dir(filepath.Join(top, "new"), false)
	d, err := treediff.Compare(context.Background(), old, new, treediff.Options{Renames: true})
	if err != nil {
		panic(err)
	}
	for _, c := range d.Changes {
		fmt.Println(c)
	}
	// Output:
	// renamed   notes.txt → NOTES.txt
	// modified  src/main.go (12 → 23 bytes)
}
