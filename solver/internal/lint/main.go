// Command lint holds Go files to the sizes of CONTRIBUTING.md: a function has at
// most 80 lines, a file at most 500. Tests, whose tables of cases are long without
// being hard, may have 120 and 600. A longer file says why, in a comment that
// begins with "Long file:". There is no list of exceptions.
//
//	go run ./internal/lint DIR...
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	maxFunc, maxTestFunc = 80, 120
	maxFile, maxTestFile = 500, 600
	excuse               = "Long file:"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: lint DIR...")
		os.Exit(2)
	}
	found := 0
	for _, dir := range os.Args[1:] {
		findings, err := lint(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, "lint:", err)
			os.Exit(2)
		}
		for _, f := range findings {
			fmt.Println(f)
		}
		found += len(findings)
	}
	if found > 0 {
		os.Exit(1)
	}
}

// lint checks the Go files of a folder and of those below it.
func lint(dir string) (findings []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != dir && (strings.HasPrefix(name, ".") || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		more, err := lintFile(path, src)
		findings = append(findings, more...)
		return err
	})
	return findings, err
}

// lintFile checks one file.
func lintFile(path string, src []byte) (findings []string, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(file) {
		return nil, nil
	}
	maxFunc, maxFile := maxFunc, maxFile
	if strings.HasSuffix(path, "_test.go") {
		maxFunc, maxFile = maxTestFunc, maxTestFile
	}
	if n := bytes.Count(src, []byte("\n")); n > maxFile && !excused(file) {
		findings = append(findings, fmt.Sprintf("%s: %d lines, at most %d, or a comment %q", path, n, maxFile, excuse+" …"))
	}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		from, to := fset.Position(fn.Pos()), fset.Position(fn.End())
		if n := to.Line - from.Line + 1; n > maxFunc {
			findings = append(findings, fmt.Sprintf("%s:%d: %s has %d lines, at most %d", path, from.Line, fn.Name.Name, n, maxFunc))
		}
	}
	return findings, nil
}

// excused reports whether a file says why it is long.
func excused(file *ast.File) bool {
	for _, group := range file.Comments {
		if strings.HasPrefix(group.Text(), excuse) {
			return true
		}
	}
	return false
}
