package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// What a test ended with.
const (
	passed  = "PASS"
	skipped = "SKIP"
)

var resultLine = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+) \(`)

// parseResults finds the results in what a test binary says with -test.v.
func parseResults(said []byte) map[string]string {
	results := map[string]string{}
	for _, m := range resultLine.FindAllSubmatch(said, -1) {
		results[string(m[2])] = string(m[1])
	}
	return results
}

// wrong are the tests of a function that did not end as they do on buildkitd.
func (f *function) wrong(results map[string]string) (names []string) {
	for _, n := range f.pass {
		if results[n] != passed {
			names = append(names, n)
		}
	}
	for _, n := range f.skip {
		if r := results[n]; r != skipped && r != passed {
			names = append(names, n)
		}
	}
	return names
}

// report compares results with the lists.
type report struct {
	total, passed int
	failed        []string // and should not have
	known         int      // that failed as they were known to
	mended        []string // that were known to fail, and did not
}

func (p *plan) compare(results map[string]string) (r report) {
	for _, f := range p.functions {
		wrong := f.wrong(results)
		for _, n := range slices.Concat(f.pass, f.skip) {
			r.total++
			bad := slices.Contains(wrong, n)
			switch {
			case bad && p.known[n]:
				r.known++
			case bad:
				r.failed = append(r.failed, n)
			case p.known[n]:
				r.mended = append(r.mended, n)
			}
			if !bad {
				r.passed++
			}
		}
	}
	return r
}

func (r report) text(suite string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d of %d pass, %d are known to fail\n", suite, r.passed, r.total, r.known)
	for _, n := range r.failed {
		fmt.Fprintf(&b, "%s: FAILED %s\n", suite, n)
	}
	for _, n := range r.mended {
		fmt.Fprintf(&b, "%s: passes now, and is in known-%s.txt: %s\n", suite, suite, n)
	}
	return b.String()
}

// record writes what fails into the list of what is known to. Tests that were not run
// stay as they are.
func (p *plan) record(dir string, results map[string]string) error {
	known := maps.Clone(p.known)
	for _, f := range p.functions {
		for _, n := range slices.Concat(f.pass, f.skip) {
			delete(known, n)
		}
		for _, n := range f.wrong(results) {
			known[n] = true
		}
	}
	text := "# Tests that pass on buildkitd, and do not yet on tenond.\n"
	text += strings.Join(append(slices.Sorted(maps.Keys(known)), ""), "\n")
	return os.WriteFile(filepath.Join(dir, "known-"+p.name+".txt"), []byte(text), 0o644)
}
