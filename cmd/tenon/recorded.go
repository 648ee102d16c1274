package main

import (
	"path/filepath"
	"strings"

	"github.com/tenonbuild/tenon/engine/recorder"
	"github.com/tenonbuild/tenon/engine/why"
)

// recording says how a build is recorded: not at all without a project.
type recording struct {
	project string
	explain bool
	skipped []why.Cache // caches of others that are not read
}

// recorded is what builds a project and records it. A daemon records by itself.
func (c *cli) recorded(w worker, how recording) builder {
	if w.daemon != nil || how.project == "" {
		return w.builder()
	}
	cfg, err := c.configure()
	if err != nil { // it was read before
		return w.builder()
	}
	return &recorder.Recorder{
		Engine: w.engine, Limits: cfg.History.Limits(), Project: how.project, Explain: how.explain, Caches: how.skipped, Command: append([]string{"tenon"}, c.args...), Notice: c.notice,
	}
}

// projectOf names what is built from a context: builds of one project are compared with each
// other, whatever their target, their arguments and their output.
func projectOf(context string, attrs map[string]string) string {
	if !isURL(context) && context != "-" {
		if abs, err := filepath.Abs(context); err == nil {
			context = abs
		}
	}
	return context + "\n" + attrs["filename"]
}

// projectName is a project as people are told of it.
func projectName(project string) string {
	words := strings.FieldsFunc(project, func(r rune) bool { return r == '\n' })
	if len(words) == 2 {
		return words[0] + " with " + words[1]
	}
	return strings.Join(words, " ")
}
