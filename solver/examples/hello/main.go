// Command hello builds a small program from three source files with Tenon's
// solver: it builds it, builds it again, changes a file and builds what has
// changed, and says each time what was run, what was not, and why.
//
// Everything an embedder has to write is here: graph.go has vertices and ops,
// results.go keeps results in files, report.go shows progress and reads the
// trace.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/boltstore"
)

func main() {
	dir := flag.String("dir", "", "keep sources and cache in this folder and build once; edit the sources and call again")
	flag.Parse()
	var err error
	if *dir != "" {
		err = once(*dir)
	} else {
		err = tour()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

// once builds what is in a folder.
func once(dir string) error {
	p := project{dir: dir}
	if err := p.create(); err != nil {
		return err
	}
	program, _, err := p.build()
	if err != nil {
		return err
	}
	fmt.Printf("\n%s\nThe sources are in %s. Edit one and call again.\n", program, p.path("src"))
	return nil
}

// tour shows four builds in a folder of its own.
func tour() error {
	dir, err := os.MkdirTemp("", "tenon-hello-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p := project{dir: dir}
	if err := p.create(); err != nil {
		return err
	}
	steps := []struct {
		title        string
		file, append string
	}{
		{title: "1. The cache is empty: everything is run."},
		{title: "2. The same again, in a new solver on the same files: nothing is run."},
		{title: "3. A line is added to greet.txt: what is made of it is run.", file: "greet", append: "nice to see you\n"},
		{title: "4. A comment is added to main.txt: \"strip\" makes the same of it as before, so the rest is not run.", file: "main", append: "# a comment\n"},
	}
	var program string
	for _, st := range steps {
		fmt.Printf("\n%s\n\n", st.title)
		if err := p.append(st.file, st.append); err != nil {
			return err
		}
		if program, _, err = p.build(); err != nil {
			return err
		}
	}
	fmt.Printf("\nThe program:\n\n%s\n", program)
	fmt.Print(`What to try next:
  go run ./solver/examples/hello -dir /tmp/hello    edit the files in /tmp/hello/src, and call it again
  go doc -all ./solver | less                       the model, and every name
  go test ./solver -run Example -v                  a small program for each subject
`)
	return nil
}

// project is a folder with sources and a cache.
type project struct{ dir string }

func (p project) path(elem ...string) string {
	return filepath.Join(append([]string{p.dir}, elem...)...)
}

// sources are the files a new project begins with.
var sources = []struct{ name, text string }{
	{"main", "# the main program\nhello from main\n"},
	{"greet", "# greetings\ngood morning\n"},
	{"lib", "# what others need\nhelp is on its way\n"},
}

// create makes the folders, and the sources that are missing.
func (p project) create() error {
	for _, dir := range []string{p.path("src"), p.path("cache", "results")} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	for _, src := range sources {
		path := p.source(src.name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := os.WriteFile(path, []byte(src.text), 0o666); err != nil {
			return err
		}
	}
	return nil
}

func (p project) source(name string) string { return p.path("src", name+".txt") }

// append adds a text to a source.
func (p project) append(name, text string) error {
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(p.source(name), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// graph is how the program is made: a chain for each source, and a link.
func (p project) graph() *vertex {
	var objects []*vertex
	for _, src := range sources {
		objects = append(objects, compile(strip(read(p.source(src.name)))))
	}
	return link(objects...)
}

// build builds the program and tells how. It opens and closes the cache, as a
// process of its own would.
func (p project) build() (program string, stats solver.Stats, err error) {
	store, err := boltstore.Open(p.path("cache", "keys.db"), boltstore.Options{})
	if err != nil {
		return "", stats, err
	}
	defer func() {
		if cerr := store.Close(); err == nil {
			err = cerr
		}
	}()
	s := solver.NewSolver(solver.SolverOpt{
		ResolveOpFunc: resolve,
		DefaultCache:  solver.NewCacheManager("local", store, resultFiles(p.path("cache", "results"))),
	})
	defer s.Close()

	job, err := s.NewJob("hello")
	if err != nil {
		return "", stats, err
	}
	top := p.graph()
	progress := follow(job, top)
	ctx := context.Background()
	result, err := job.Build(ctx, solver.Edge{Vertex: top})
	if err == nil {
		program = textOf(result)
		err = result.Release(ctx)
	}
	outcomes := progress.end(err)
	explain(job.Trace(), outcomes)
	stats = s.Stats()
	fmt.Printf("\n  %d ops were run, %d results loaded from the cache.\n", stats.Execs, stats.Loads)
	return program, stats, err
}
