package edge

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what the machine answers into testdata")

// TestScripts drives one machine by each script in testdata: a line is an event,
// indented lines are what the machine answers and where it then stands.
func TestScripts(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) == 0 {
		t.Fatal("no scripts")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := runScript(string(want))
			if err != nil {
				t.Errorf("%v, after:\n%s", err, got)
			} else if *rewrite {
				err = os.WriteFile(file, []byte(got), 0o666)
			} else if got != string(want) {
				t.Errorf("the machine answers otherwise (-rewrite takes it over):\n%s", got)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// script is a script being run: a machine, and the checks of its contract.
type script struct {
	m *machine
	l *ledger
}

// runScript runs a script and returns it as it should read.
func runScript(text string) (string, error) {
	var s script
	var out strings.Builder
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, "\t") {
			continue // an answer: it is made anew
		}
		out.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if err := s.line(strings.Fields(line), &out); err != nil {
			return out.String(), fmt.Errorf("line %d: %q: %w", n+1, line, err)
		}
	}
	return out.String(), nil
}

func (s *script) line(words []string, out *strings.Builder) error {
	if words[0] == "edge" {
		n, list, last := 0, "", "none"
		fmt.Sscanf(strings.Join(words[1:], " "), "inputs=%d managers=%s later=%s", &n, &list, &last)
		mask, err := parseManagers(list)
		if err != nil {
			return err
		}
		later, err := parseManagers(last)
		if err != nil {
			return err
		}
		s.m, s.l = new(machine), newLedger(n)
		s.m.Init(n, mask, later)
		return nil
	}
	ev, err := parseEvent(words, s.l.n)
	if err != nil {
		return err
	}
	effects, err := s.l.step(s.m, ev, nil)
	for _, e := range effects {
		fmt.Fprintf(out, "\t%s\n", e)
	}
	fmt.Fprintf(out, "\t= %s\n", s.m.describe())
	return err
}
