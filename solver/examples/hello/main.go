// Command hello builds a small program from three source files with Tenon's solver: it
// builds it, builds it again, changes a file and builds what has changed, and says each
// time what was run, what was not, and why. It is all that an embedder has to write:
// graph.go has the graph and its operations, main.go the solver and its cache.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/filestore"
	"github.com/tenonbuild/tenon/solver/logstore"
)

func main() {
	dir := flag.String("dir", "", "build once in this folder, and keep it; edit the sources and call again")
	flag.Parse()
	var err error
	if *dir != "" {
		_, _, err = build(*dir, "The sources are in "+*dir+". Edit one and call again.", "")
	} else if *dir, err = os.MkdirTemp("", "tenon-hello-"); err == nil {
		for _, c := range tour {
			if _, _, err = build(*dir, c.title, c.change); err != nil {
				break
			}
		}
		err = errors.Join(err, os.RemoveAll(*dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

var sources = [][2]string{
	{"main.txt", "# the main program\nhello from main\n"},
	{"greet.txt", "# greetings\ngood morning\n"},
	{"lib.txt", "# what others need\nhelp is on its way\n"},
}

// tour is some builds, each after a line is added to a source.
var tour = []struct {
	title, change string
	execs, loads  uint64
}{
	{title: "1. The cache is empty: everything is run.", execs: 10},
	{title: "2. The same again, in a new solver on the same files: nothing is run.", loads: 1},
	{title: "3. A line is added to main.txt: what is made of it is run.", change: "bye\n", execs: 4, loads: 2},
	{title: `4. A comment is added to main.txt: "strip" makes the same of it as before, so the rest is not run.`, change: "# a comment\n", execs: 2, loads: 1},
}

// build builds the program in a folder. It opens and closes the cache, as a process of its
// own would.
func build(dir, title, change string) (program string, stats solver.Stats, err error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", stats, err
	}
	var objects []*step
	for i, src := range sources {
		data, err := os.ReadFile(filepath.Join(dir, src[0]))
		if errors.Is(err, os.ErrNotExist) {
			data = []byte(src[1])
		} else if err != nil {
			return "", stats, err
		}
		if i == 0 {
			data = append(data, change...)
		}
		if err := os.WriteFile(filepath.Join(dir, src[0]), data, 0o666); err != nil {
			return "", stats, err
		}
		objects = append(objects, compile(src[0], strip(src[0], source(src[0], string(data)))))
	}

	keys, err := logstore.Open(filepath.Join(dir, "keys.db"), logstore.Options{})
	if err != nil {
		return "", stats, err
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	results, err := filestore.NewResultStorage(filepath.Join(dir, "results"),
		func(r solver.Result) ([]byte, error) { return []byte(textOf(r)), nil },
		func(data []byte) (solver.Result, error) { return text(data), nil })
	if err != nil {
		return "", stats, err
	}
	s := solver.NewSolver(solver.SolverOpt{
		ResolveOpFunc: func(v solver.Vertex, _ solver.Builder) (solver.Op, error) { return v.Sys().(*step), nil },
		DefaultCache:  solver.NewCacheManager("local", keys, results),
	})
	defer s.Close()

	job, err := s.NewJob("hello")
	if err != nil {
		return "", stats, err
	}
	defer job.Discard()
	ctx := context.Background()
	result, err := job.Build(ctx, solver.Edge{Vertex: link(objects...)})
	if err != nil {
		return "", stats, err
	}
	defer result.Release(ctx)
	fmt.Printf("\n%s\n\n%s\n%s", title, job.Trace(), textOf(result))
	return textOf(result), s.Stats(), nil
}
