package solver_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocProgram runs the program at the top of the package comment, which says itself what
// it prints.
func TestDocProgram(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var program strings.Builder
	for line := range strings.Lines(string(text)) {
		if code, isCode := strings.CutPrefix(line, "//\t"); isCode {
			program.WriteString(code)
		} else if program.Len() > 0 && line != "//\n" {
			break
		} else if program.Len() > 0 {
			program.WriteString("\n")
		}
	}
	path := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(path, []byte(program.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "run", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, want, _ := strings.Cut(program.String(), "fmt.Println(r.Sys()) // "); !strings.HasPrefix(want, string(out)) || len(out) < 5 {
		t.Errorf("it prints %q", out)
	}
}
