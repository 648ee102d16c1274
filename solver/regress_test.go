package solver_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRegress runs the cases of TestSimulation that once failed, shrunk to what
// they needed. Each is named by its mechanism, and begins by telling it.
func TestRegress(t *testing.T) {
	scripts, err := filepath.Glob("testdata/sim/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txt"), func(t *testing.T) {
			c := parseSimCase(string(text))
			for range simTries {
				if failures := runCase(t, c); failures != nil {
					t.Fatal(strings.Join(failures, "\n"))
				}
			}
		})
	}
}
