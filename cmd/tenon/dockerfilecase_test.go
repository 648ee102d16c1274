package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/rogpeppe/go-internal/txtar"
)

// dockerfileCase is a file of testdata/dockerfile: an archive in the txtar format.
// Its comment says what is shown. Its sections are
//
//	flags           flags of the command, one a line
//	show            what is expected besides the result: config, layers, times; and
//	                shared, for steps that have the result of an equal one
//	setup           commands on the files, before the first build: see bench.script
//	ctx/PATH        a file of the context
//	more/PATH       a file beside it
//	error           lines that the error has, if the build is to fail
//	ran             the steps that the first build runs
//	result          what is built, without what comes from the base image
//	config, layers  the image's
//	change NAME     commands that change the files before the next build
//
// and, after a change, "flags NAME" (instead of the case's), "error NAME", "ran
// NAME" and, where they differ from before, "result NAME" and the like. A change
// comes on top of those before it.
type dockerfileCase struct {
	comment string
	flags   []string
	show    []string
	setup   []string
	files   []txtar.File
	first   expected
	changes []*change
}

// expected is what is expected of a build.
type expected struct {
	fails, ran             []string
	result, config, layers *string // nil: as before
}

type change struct {
	name   string
	script []string
	flags  []string // nil: those of the case
	expected
}

// nothing stands for no steps, so that they are not forgotten.
const nothing = "(nothing)"

func readCase(t *testing.T, path string) *dockerfileCase {
	t.Helper()
	ar, err := txtar.ParseFile(path)
	noError(t, err)
	c := &dockerfileCase{comment: string(ar.Comment)}
	if !strings.HasPrefix(c.comment, "# ") {
		t.Fatalf("%s should begin with a comment that says what is shown", path)
	}
	for _, f := range ar.Files {
		if err := c.section(f); err != nil {
			t.Fatalf("%s: -- %s --: %v", path, f.Name, err)
		}
	}
	return c
}

func (c *dockerfileCase) section(f txtar.File) error {
	kind, name, named := strings.Cut(f.Name, " ")
	if strings.HasPrefix(f.Name, "ctx/") || strings.HasPrefix(f.Name, "more/") {
		c.files = append(c.files, f)
		return nil
	}
	all := strings.Split(strings.TrimSuffix(string(f.Data), "\n"), "\n")
	if len(f.Data) == 0 || all[0] == nothing {
		all = []string{}
	}
	e := &c.first
	var ch *change
	switch {
	case kind == "change":
		c.changes = append(c.changes, &change{name: name, script: all})
		return nil
	case named:
		i := slices.IndexFunc(c.changes, func(ch *change) bool { return ch.name == name })
		if i < 0 {
			return fmt.Errorf("there is no change %q before", name)
		}
		ch = c.changes[i]
		e = &ch.expected
	}
	switch {
	case kind == "flags" && ch != nil:
		ch.flags = all
	case kind == "flags":
		c.flags = all
	case kind == "show" && ch == nil:
		c.show = all
	case kind == "setup" && ch == nil:
		c.setup = all
	case kind == "error":
		e.fails = all
	case kind == "ran":
		e.ran = all
	case kind == "result", kind == "config", kind == "layers":
		e.set(kind, string(f.Data))
	default:
		return fmt.Errorf("there is no such section")
	}
	return nil
}

func (e *expected) set(part, text string) {
	switch part {
	case "result":
		e.result = &text
	case "config":
		e.config = &text
	case "layers":
		e.layers = &text
	}
}

func (c *dockerfileCase) shows(what string) bool { return slices.Contains(c.show, what) }

// format is the file of a case.
func (c *dockerfileCase) format() []byte {
	ar := &txtar.Archive{Comment: []byte(c.comment)}
	add := func(name string, text string) {
		ar.Files = append(ar.Files, txtar.File{Name: name, Data: []byte(text)})
	}
	given := func(name string, list []string) {
		if len(list) > 0 {
			add(name, lines(list))
		}
	}
	given("flags", c.flags)
	given("show", c.show)
	given("setup", c.setup)
	ar.Files = append(ar.Files, c.files...)
	c.first.format("", expected{}, add)
	before := c.first
	for _, ch := range c.changes {
		add("change "+ch.name, lines(ch.script))
		if ch.flags != nil {
			add("flags "+ch.name, lines(ch.flags))
		}
		ch.format(" "+ch.name, before, add)
		before = ch.expected
	}
	return bytes.TrimLeft(txtar.Format(ar), "\n")
}

func (e *expected) format(suffix string, before expected, add func(name, text string)) {
	if len(e.fails) > 0 {
		add("error"+suffix, lines(e.fails))
	}
	add("ran"+suffix, lines(e.ran))
	for _, part := range []struct {
		name        string
		now, before *string
	}{{"result", e.result, before.result}, {"config", e.config, before.config}, {"layers", e.layers, before.layers}} {
		if part.now != nil && or(part.now) != or(part.before) {
			add(part.name+suffix, *part.now)
		}
	}
}

// lines is a list as the text of a section.
func lines(list []string) string {
	if len(list) == 0 {
		return nothing + "\n"
	}
	return strings.Join(list, "\n") + "\n"
}

func difference(want, got string) string {
	return string(diff.Diff("expected", []byte(want), "got", []byte(got)))
}
