package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// plan is what is to run of a suite.
type plan struct {
	suite
	functions []*function
	known     map[string]bool // tests that are known to fail
}

// function is a function of BuildKit's tests. What it is run as, and its own subtests,
// have names of their own.
type function struct {
	top, name string // TestIntegration, TestCopy
	pass      []string
	skip      []string // these pass up to a point, and then skip what is left
}

// pattern chooses the function.
func (f *function) pattern() string {
	return "^" + regexp.QuoteMeta(f.top) + "$/^" + regexp.QuoteMeta(f.name) + "$/^worker=oci$"
}

// newPlan reads the lists of a suite.
func newPlan(dir string, s suite) (*plan, error) {
	p := &plan{suite: s, known: map[string]bool{}}
	names, err := readList(filepath.Join(dir, "pass-"+s.name+".txt"))
	if err != nil {
		return nil, err
	}
	byName := map[string]*function{}
	for _, line := range names {
		name, skips := strings.CutSuffix(line, " skips")
		// A function's name may have slashes.
		of, _, ok := strings.Cut(name, "/worker=oci")
		top, fn, ok2 := strings.Cut(of, "/")
		if !ok || !ok2 {
			return nil, fmt.Errorf("pass-%s.txt: %q is no test", s.name, line)
		}
		f := byName[of]
		if f == nil {
			f = &function{top: top, name: fn}
			byName[of] = f
			p.functions = append(p.functions, f)
		}
		if skips {
			f.skip = append(f.skip, name)
		} else {
			f.pass = append(f.pass, name)
		}
	}
	known, err := readList(filepath.Join(dir, "known-"+s.name+".txt"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, name := range known {
		p.known[name] = true
	}
	return p, nil
}

// readList reads a list: a name a line, and comments.
func readList(file string) (names []string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			names = append(names, line)
		}
	}
	return names, nil
}

// choose leaves the tests that match, and of their functions those of the shard.
func (p *plan) choose(match *regexp.Regexp, shard string) error {
	var i, n int
	if _, err := fmt.Sscanf(shard, "%d/%d", &i, &n); err != nil || i < 1 || i > n {
		return fmt.Errorf("the shard %q is not like 1/6", shard)
	}
	other := func(name string) bool { return !match.MatchString(name) }
	var chosen []*function
	for _, f := range p.functions {
		f.pass, f.skip = slices.DeleteFunc(f.pass, other), slices.DeleteFunc(f.skip, other)
		if len(f.pass)+len(f.skip) > 0 {
			chosen = append(chosen, f)
		}
	}
	p.functions = nil
	for k, f := range chosen {
		if k%n == i-1 {
			p.functions = append(p.functions, f)
		}
	}
	return nil
}

// shorten leaves the functions of the list of short ones.
func (p *plan) shorten(dir string) error {
	short, err := readList(filepath.Join(dir, "short.txt"))
	if err != nil {
		return err
	}
	p.functions = slices.DeleteFunc(p.functions, func(f *function) bool {
		return !slices.Contains(short, p.name+" "+f.top+"/"+f.name)
	})
	return nil
}
