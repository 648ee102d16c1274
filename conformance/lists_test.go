package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The lists of this directory are read, and agree with each other.
func TestLists(t *testing.T) {
	short, err := readList("short.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range suites {
		p, err := newPlan(".", s)
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		for _, f := range p.functions {
			for _, n := range slices.Concat(f.pass, f.skip) {
				names[n] = true
			}
			line := p.name + " " + f.top + "/" + f.name
			short = slices.DeleteFunc(short, func(l string) bool { return l == line })
		}
		for n := range p.known {
			if !names[n] {
				t.Errorf("known-%s.txt has %s, and pass-%s.txt has not", s.name, n, s.name)
			}
		}
	}
	if len(short) > 0 {
		t.Errorf("short.txt has functions that there are not:\n%s", strings.Join(short, "\n"))
	}
}

func testPlan(t *testing.T, pass, known string) *plan {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"pass-x.txt": pass, "known-x.txt": known} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, err := newPlan(dir, suite{name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const testPass = "# comment\nTestA/TestOne/worker=oci\nTestA/TestOne/worker=oci/sub\nTestA/Test/Two/worker=oci skips\nTestA/TestThree/worker=oci\n"

// A test that fails is an error, unless it is known to; one that is known to and passes is
// told; one that has no result has failed.
func TestCompare(t *testing.T) {
	p := testPlan(t, testPass, "TestA/TestOne/worker=oci/sub\nTestA/TestThree/worker=oci\n")
	results := parseResults([]byte("=== RUN x\n--- FAIL: TestA (1.00s)\n    --- PASS: TestA/TestOne/worker=oci (0.10s)\n" +
		"        --- FAIL: TestA/TestOne/worker=oci/sub (0.10s)\n    --- PASS: TestA/TestThree/worker=oci (0.10s)\n"))
	r := p.compare(results)
	if r.total != 4 || r.passed != 2 || r.known != 1 {
		t.Errorf("%+v", r)
	}
	if want := []string{"TestA/Test/Two/worker=oci"}; !slices.Equal(r.failed, want) {
		t.Errorf("failed: %q", r.failed)
	}
	if want := []string{"TestA/TestThree/worker=oci"}; !slices.Equal(r.mended, want) {
		t.Errorf("mended: %q", r.mended)
	}
	results["TestA/Test/Two/worker=oci"] = skipped
	if r := p.compare(results); len(r.failed) > 0 {
		t.Errorf("one that skips is right to: %q", r.failed)
	}
	results["TestA/TestOne/worker=oci"] = skipped
	if r := p.compare(results); len(r.failed) != 1 {
		t.Errorf("one that should pass, and skips: %q", r.failed)
	}
}

// Shards are all there is, each a part; a record has what fails.
func TestChoose(t *testing.T) {
	seen := 0
	for _, shard := range []string{"1/2", "2/2"} {
		p := testPlan(t, testPass, "")
		if err := p.choose(regexp.MustCompile(""), shard); err != nil {
			t.Fatal(err)
		}
		seen += len(p.functions)
	}
	if seen != 3 {
		t.Errorf("the shards have %d functions", seen)
	}
	p := testPlan(t, testPass, "")
	if err := p.choose(regexp.MustCompile("sub|Two"), "1/1"); err != nil {
		t.Fatal(err)
	}
	if len(p.functions) != 2 || p.functions[0].pattern() != `^TestA$/^TestOne$/^worker=oci$` {
		t.Errorf("chosen: %+v", p.functions)
	}
	for _, shard := range []string{"", "0/2", "3/2", "x"} {
		if err := p.choose(regexp.MustCompile(""), shard); err == nil {
			t.Errorf("the shard %q is taken", shard)
		}
	}
	dir := t.TempDir()
	if err := p.record(dir, map[string]string{"TestA/Test/Two/worker=oci": skipped}); err != nil {
		t.Fatal(err)
	}
	if got, err := readList(filepath.Join(dir, "known-x.txt")); err != nil || !slices.Equal(got, []string{"TestA/TestOne/worker=oci/sub"}) {
		t.Errorf("recorded: %q, %v", got, err)
	}
}
