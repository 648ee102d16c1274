package main

import (
	"strings"
	"testing"
)

// What the tour says must be true.
func TestTour(t *testing.T) {
	dir := t.TempDir()
	for i, c := range tour {
		program, stats, err := build(dir, c.title, c.change)
		if err != nil {
			t.Fatal(err)
		}
		if stats.Execs != c.execs || stats.Loads != c.loads {
			t.Errorf("build %d: %d ops run and %d results loaded, want %d and %d", i+1, stats.Execs, stats.Loads, c.execs, c.loads)
		}
		if !strings.Contains(program, "HELLO FROM MAIN") || strings.Contains(program, "BYE") != (i >= 2) {
			t.Errorf("build %d: %s", i+1, program)
		}
	}
}
