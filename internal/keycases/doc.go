// Package keycases has builds whose cache keys are compared with BuildKit's. It is for the
// test of package engine that compares them, and for bench/cmd/keys, which records what
// BuildKit exports for each of them.
//
// A case is a file: an archive (txtar) of the files of a build context with a Dockerfile,
// or of nothing, where the build is one of Definitions. Lines before the first file are
// attributes of the frontend, NAME=VALUE. The file "records" has what BuildKit v0.33.1
// exports with mode=max. In all files {registry}, {site} and so on stand for the servers of
// a World, none of whose addresses becomes part of a key.
package keycases

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// Case is one build.
type Case struct {
	Name    string
	Attrs   map[string]string // of the frontend
	Files   map[string]string // of the context; without a Dockerfile it is one of Definitions
	Records Records           // those of BuildKit
	// Partly: the definitions are keyed alike, and not all contents. A line "partly" says so.
	Partly bool
	path   string
}

const recordsFile = "records"

// Read reads the cases in a directory, and makes those of Definitions that are not there.
func Read(dir string) ([]*Case, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	for name := range Definitions {
		if p := filepath.Join(dir, name+".txt"); !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	var out []*Case
	for _, p := range paths {
		c, err := readCase(p)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

func readCase(p string) (*Case, error) {
	c := &Case{Name: strings.TrimSuffix(filepath.Base(p), ".txt"), Attrs: map[string]string{}, Files: map[string]string{}, path: p}
	dt, err := os.ReadFile(p)
	if os.IsNotExist(err) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	ar := txtar.Parse(dt)
	for line := range strings.Lines(string(ar.Comment)) {
		c.Partly = c.Partly || strings.TrimSpace(line) == "partly"
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			c.Attrs[k] = v
		}
	}
	for _, f := range ar.Files {
		if f.Name != recordsFile {
			c.Files[f.Name] = string(f.Data)
			continue
		}
		if c.Records, err = parseRecords(string(f.Data)); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
	}
	return c, nil
}

// Write puts records into the case's file.
func (c *Case) Write(r Records) error {
	ar := &txtar.Archive{}
	if dt, err := os.ReadFile(c.path); err == nil {
		ar = txtar.Parse(dt)
	} else if !os.IsNotExist(err) {
		return err
	}
	ar.Files = slices.DeleteFunc(ar.Files, func(f txtar.File) bool { return f.Name == recordsFile })
	ar.Files = append(ar.Files, txtar.File{Name: recordsFile, Data: []byte(r.String())})
	return os.WriteFile(c.path, bytes.TrimLeft(txtar.Format(ar), "\n"), 0o644)
}

// dockerfile is not in the context: it has the addresses of servers.
const dockerfile = "Dockerfile"

// Context writes the case's context into the folder context of a directory, with the modes
// that are the same everywhere, and the Dockerfile into the folder dockerfile.
func (c *Case) Context(dir string, w *World) error {
	for _, folder := range []string{"context", "dockerfile"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o755); err != nil {
			return err
		}
	}
	for name, text := range c.Files {
		p := filepath.Join(dir, "context", name)
		if name == dockerfile {
			p, text = filepath.Join(dir, "dockerfile", name), w.expand(text)
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			if err := os.Symlink(strings.TrimSpace(to), p); err != nil {
				return err
			}
			continue
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Chmod(p, 0o755)
		case d.Type().IsRegular():
			return os.Chmod(p, 0o644)
		}
		return nil
	})
}
