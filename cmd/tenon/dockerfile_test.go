package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/solver/client"
)

var update = flag.Bool("update", false, "fill in what the cases of testdata/dockerfile expect; read it afterwards")

// TestDockerfiles builds each case of testdata/dockerfile, again without a change,
// again with nothing but other modification times, and again after each change that
// the case names. Compared are what was built, and which steps ran for it.
func TestDockerfiles(t *testing.T) {
	tools := needs(t, "busybox", "git", "runc", "tar", "xz", "bzip2")
	base := newBases(t, tools[0])
	t.Setenv("TENON_TEST_SECRET", "from the environment")
	files, err := filepath.Glob("testdata/dockerfile/*.txtar")
	noError(t, err)
	if len(files) < 100 {
		t.Errorf("there are %d cases, and there were at least 100", len(files))
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := readCase(t, file)
			newBench(t, c, base).all()
			if *update && !t.Failed() {
				noError(t, os.WriteFile(file, c.format(), 0o644))
			}
		})
	}
}

// bench is where a case is built.
type bench struct {
	t    *testing.T
	c    *dockerfileCase
	dir  string // with ctx, more, and what is built
	base bases
	site *site  // what answers as files.test
	ssh  string // the socket of an SSH agent
	time int64  // of the last file that was touched
}

func newBench(t *testing.T, c *dockerfileCase, base bases) *bench {
	b := &bench{t: t, c: c, dir: t.TempDir(), base: base, time: 1_000_000_000}
	b.site = newSite(t, b.dir)
	b.ssh = sshAgent(t, b.dir)
	for _, d := range []string{"ctx", "more/http", "more/git"} {
		noError(t, os.MkdirAll(filepath.Join(b.dir, d), 0o755))
	}
	for _, f := range c.files {
		path := filepath.Join(b.dir, f.Name)
		noError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		noError(t, os.WriteFile(path, []byte(b.site.in(string(f.Data))), 0o644))
	}
	b.script(c.setup)
	return b
}

// all builds everything that the case says.
func (b *bench) all() {
	first := b.build("", b.c.flags)
	b.compare("", first, &b.c.first, expected{})
	if first.failed == "" {
		b.same("without a change", b.build("", b.c.flags), first)
		b.touchAll()
		b.same("with other modification times", b.build("", b.c.flags), first)
	}
	want := b.c.first
	for _, ch := range b.c.changes {
		b.script(ch.script)
		flags := ch.flags
		if flags == nil {
			flags = b.c.flags
		}
		b.compare(ch.name, b.build(ch.name, flags), &ch.expected, want)
		want = ch.expected
	}
}

// same is for a build that has nothing to do.
func (b *bench) same(when string, got, first *built) {
	b.t.Helper()
	if len(got.ran) > 0 || got.failed != "" {
		b.t.Errorf("a build %s ran %q %s", when, got.ran, got.failed)
	}
	if !bytes.Equal(got.tar, first.tar) {
		b.t.Errorf("a build %s has another result:\n%s", when, difference(first.result, got.result))
	}
	if got.config != first.config || got.layers != first.layers {
		b.t.Errorf("a build %s has another image:\n%s%s", when, difference(first.config, got.config), difference(first.layers, got.layers))
	}
}

// compare compares a build with what is expected of it. What the case does not say
// is as it was before.
func (b *bench) compare(change string, got *built, want *expected, before expected) {
	b.t.Helper()
	if !got.failedAsSaid(want.fails) {
		b.t.Errorf("%s: the error is\n%s\nand should have\n%s", change, got.failed, strings.Join(want.fails, "\n"))
	}
	if *update && !b.t.Failed() {
		want.ran = got.ran
	}
	if !slices.Equal(got.ran, want.ran) {
		b.t.Errorf("%s: what ran:\n%s", change, difference(lines(want.ran), lines(got.ran)))
	}
	for _, part := range []struct {
		name, got    string
		want, before *string
	}{
		{"result", got.result, want.result, before.result},
		{"config", got.config, want.config, before.config},
		{"layers", got.layers, want.layers, before.layers},
	} {
		if got.failed != "" {
			part.got = or(part.before)
		}
		if *update {
			want.set(part.name, part.got)
			continue
		}
		if part.want == nil {
			part.want = part.before
			if part.before != nil {
				want.set(part.name, *part.before)
			}
		}
		if or(part.want) != part.got {
			b.t.Errorf("%s: %s:\n%s", change, part.name, difference(or(part.want), part.got))
		}
	}
}

func or(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// built is what came of a build.
type built struct {
	tar    []byte   // the result as an archive
	result string   // its listing, without what is the base image's
	config string   // of the image
	layers string   // the listings of the layers that the build added
	ran    []string // the names of the steps that ran, sorted
	failed string   // what was said when it failed
}

func (b *built) failedAsSaid(want []string) bool {
	for _, line := range want {
		if !strings.Contains(b.failed, line) {
			return false
		}
	}
	return (b.failed != "") == (len(want) > 0)
}

// build runs the command.
func (b *bench) build(change string, flags []string) *built {
	b.t.Helper()
	out := filepath.Join(b.dir, "out.tar")
	image := filepath.Join(b.dir, "image")
	noError(b.t, os.RemoveAll(image))
	args := []string{"build", "--root", filepath.Join(b.dir, "root"), "--progress", "rawjson", "-o", "type=tar,dest=" + out}
	if b.c.shows("config") || b.c.shows("layers") {
		args = append(args, "-o", "type=oci,tar=false,compression=uncompressed,dest="+image)
	}
	for _, name := range []string{"base", "other", "onbuild"} {
		if !slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, "--build-context "+name+"=") }) {
			args = append(args, "--build-context", name+"=oci-layout://"+b.base.dir+":"+name)
		}
	}
	for _, line := range flags {
		name, value, given := strings.Cut(line, " ")
		args = append(args, name)
		if given {
			args = append(args, b.site.in(strings.NewReplacer("$DIR", b.dir, "$BASE", b.base.dir, "$SSH", b.ssh).Replace(value)))
		}
	}
	args = append(args, filepath.Join(b.dir, "ctx"))

	var said bytes.Buffer
	c := &cli{in: strings.NewReader(""), out: io.Discard, err: &said, env: func(string) (string, bool) { return "", false }}
	code := c.main(context.Background(), args)
	res := &built{}
	rest, executed, shared, err := steps(said.Bytes())
	noError(b.t, err)
	for _, name := range executed {
		res.ran = append(res.ran, b.site.out(name))
	}
	if b.c.shows("shared") {
		// Which of equal steps is the one that runs depends on which is first.
		res.ran = append(res.ran, shared...)
		if len(shared) > 0 {
			res.ran = append(res.ran, fmt.Sprintf("and of these %d because of an equal one", len(shared)))
		}
	}
	slices.Sort(res.ran)
	if code != 0 {
		res.failed = b.site.out(strings.NewReplacer(b.dir, "$DIR", b.base.dir, "$BASE").Replace(rest))
		if *update {
			b.t.Logf("%s: %s", change, res.failed)
		}
		return res
	}
	res.tar, err = os.ReadFile(out)
	noError(b.t, err)
	res.result = listing(b.t, res.tar, b.base.layer, b.c.shows("times"))
	if b.c.shows("config") || b.c.shows("layers") {
		res.config, res.layers = describeImage(b.t, image, b.c.shows)
	}
	return res
}

// steps reads the progress of a build: the names of the steps that were executed,
// and of those that shared the result of an equal one, without what a frontend calls
// internal, and what was said besides.
func steps(said []byte) (rest string, executed, shared []string, err error) {
	var text strings.Builder
	outcomes := map[string]client.Outcome{} // by digest
	for line := range bytes.Lines(said) {
		var msg struct {
			Vertexes []struct {
				Digest  string
				Name    string
				Outcome client.Outcome
			}
		}
		if line[0] != '{' || json.Unmarshal(line, &msg) != nil {
			text.Write(line)
			continue
		}
		for _, v := range msg.Vertexes {
			if v.Outcome == "" || internal(v.Name) {
				continue
			}
			if before := outcomes[v.Digest]; before != "" && before != v.Outcome {
				err = errors.Join(err, fmt.Errorf("%s was %s and then %s", v.Name, before, v.Outcome))
			}
			switch {
			case outcomes[v.Digest] != "":
			case v.Outcome == client.Executed:
				executed = append(executed, v.Name)
			case v.Outcome == client.Shared:
				shared = append(shared, v.Name)
			}
			outcomes[v.Digest] = v.Outcome
		}
	}
	return text.String(), executed, shared, err
}

// internal says whether a step is not one of the Dockerfile.
func internal(name string) bool {
	for _, prefix := range []string{"[internal]", "[context ", "[auth]", "exporting "} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// needs skips a test that cannot run here, and fails it on CI. It returns the paths
// of the programs.
func needs(t *testing.T, programs ...string) (paths []string) {
	t.Helper()
	lacks := t.Skip
	if os.Getenv("CI") == "true" {
		lacks = t.Fatal
	}
	if os.Geteuid() != 0 {
		lacks("this test mounts file systems: run it as root")
	}
	for _, name := range programs {
		path, err := exec.LookPath(name)
		if err != nil {
			lacks("this test needs " + name + ": make test installs it where it may (apt-get install as root)")
		}
		paths = append(paths, path)
	}
	return paths
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
