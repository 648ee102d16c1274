package main

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

func TestResultFiles(t *testing.T) {
	var n atomic.Int64
	texts := solvertest.ResultMaker{
		New:   func() solver.Result { return text(fmt.Sprint("text ", n.Add(1))) },
		Value: textOf,
	}
	solvertest.CacheResultStorage(t, func(t *testing.T) solvertest.ResultStorage {
		dir := resultFiles(t.TempDir())
		return solvertest.ResultStorage{Storage: dir, Results: texts, Prune: func(id string) {
			if err := os.Remove(dir.path(id)); err != nil {
				t.Error(err)
			}
		}}
	})
}

// What the tour says must be true.
func TestTour(t *testing.T) {
	p := project{dir: t.TempDir()}
	if err := p.create(); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		file, append string
		execs, loads uint64
	}{
		{execs: 10, loads: 0},
		{execs: 0, loads: 1},
		{file: "greet", append: "nice to see you\n", execs: 4, loads: 2},
		{file: "main", append: "# a comment\n", execs: 2, loads: 1},
	}
	for i, st := range steps {
		if err := p.append(st.file, st.append); err != nil {
			t.Fatal(err)
		}
		program, stats, err := p.build()
		if err != nil {
			t.Fatal(err)
		}
		if stats.Execs != st.execs || stats.Loads != st.loads {
			t.Errorf("build %d: %d ops run and %d results loaded, want %d and %d", i+1, stats.Execs, stats.Loads, st.execs, st.loads)
		}
		if !strings.Contains(program, "HELLO FROM MAIN") || strings.Contains(program, "NICE TO SEE YOU") != (i >= 2) {
			t.Errorf("build %d: %s", i+1, program)
		}
	}
}
