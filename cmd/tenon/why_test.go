package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// whyProject is what each case of TestWhy begins with.
var whyProject = map[string]string{
	"Dockerfile": `FROM base AS lib
ARG VERSION=1
ARG UNUSED=1
ENV MODE=fast
COPY src/ /src/
RUN cat /src/a > /a
FROM base
WORKDIR /w
COPY --from=lib /a /a
COPY conf/*.conf /conf/
ADD --chmod=600 more /more
COPY <<E /here
text
E
RUN --mount=type=bind,source=data,target=/data cat /data/x > /x
`,
	"src/a": "a\n", "src/b": "b\n", "src/sub/c": "c\n",
	"conf/one.conf": "1\n", "conf/two.conf": "2\n", "conf/not": "not\n",
	"more": "more\n", "data/x": "x\n", "unused": "unused\n", ".dockerignore": "**/*.log\n",
}

// whyBench builds projects in one root.
type whyBench struct {
	*testing.T
	root, base string
}

func (b *whyBench) run(args ...string) string {
	b.Helper()
	var out, errs bytes.Buffer
	c := &cli{in: strings.NewReader(""), out: &out, err: &errs, env: func(string) (string, bool) { return "", false }, umask: 0o022}
	if code := c.main(b.Context(), append([]string{"--root", b.root}, args...)); code != 0 {
		b.Fatalf("tenon %q: exit code %d\n%s", args, code, errs.String())
	}
	return out.String()
}

func (b *whyBench) build(dir string, args ...string) {
	b.Helper()
	tag := "base"
	if len(args) > 0 && args[0] == otherBase {
		tag, args = "other", nil
	}
	b.run(slices.Concat([]string{"build", "-q", "--build-context", "base=oci-layout://" + b.base + ":" + tag}, args, []string{dir})...)
}

// shortly is a report: a line for each cause, with the steps that have it, and after an
// arrow those that follow.
func shortly(r *why.Report) string {
	var lines []string
	names := func(list []why.Ran) string {
		var out []string
		for _, s := range list {
			out = append(out, why.PlaceOf(s.Name).Instruction)
		}
		return strings.Join(out, "; ")
	}
	for _, g := range r.Causes {
		c := &g.Cause
		line := strings.TrimSpace(fmt.Sprintf("%s %s", c.Kind, c.Name))
		switch {
		case c.Kind == why.Image || c.Kind == why.InputKind || c.Kind == why.Evicted || c.Kind == why.FailedBefore:
		case c.Added:
			line += " +" + c.New
		case c.Removed:
			line += " -" + c.Old
		case c.Old+c.New != "":
			line += " " + c.Old + " => " + c.New
		}
		for _, f := range c.Files {
			line += fmt.Sprintf(", %s %s", f.Kind, f.Path)
			if f.Kind == "mode" || f.Kind == "renamed" || f.Kind == "type" {
				line += " " + f.Old + ">" + f.New
			}
		}
		line += ": " + names(g.Steps)
		if len(g.Followed) > 0 {
			line += " -> " + names(g.Followed)
		}
		lines = append(lines, strings.TrimSpace(line+" "+c.Missing))
	}
	for _, c := range r.Caches {
		if c.Error != "" {
			lines = append(lines, "not read: "+c.Name)
		}
	}
	return strings.Join(lines, "\n")
}

const (
	runLib  = "RUN cat /src/a > /a"
	copySrc = "COPY src/ /src/"
	runX    = "RUN --mount=type=bind,source=data,target=/data cat /data/x > /x"
	here    = "COPY <<E /here"
	addMore = "ADD --chmod=600 more /more"
	confs   = "COPY conf/*.conf /conf/"
	fromLib = "COPY --from=lib /a /a"

	copyFlags = " --follow --contents --unpack --parents --wildcard --empty"
)

// otherBase in place of arguments has base be another image.
const otherBase = "other base"

// whyCases are edits, each with the causes that have to be named and the steps that have to
// run.
var whyCases = []struct {
	name string
	edit func(at func(string) string)
	args []string // of the second build
	want string
}{
	{"nothing", func(func(string) string) {}, nil, ""},
	{"times", func(at func(string) string) { must(os.Chtimes(at("src/a"), time.Unix(1, 0), time.Unix(2, 0))) }, nil, ""},
	{"a file that is not used", put("unused", "other"), nil, ""},
	{"a file that the wildcard leaves out", put("conf/not", "other"), nil, ""},
	{"a file that .dockerignore leaves out", put("src/x.log", "log"), nil, ""},
	{"a comment", edit("Dockerfile", "FROM base AS lib", "# lib\nFROM base AS lib"), nil, ""},
	{"an argument that is not used", nil, []string{"--build-arg", "UNUSED=1"}, ""},
	{"content of a file that is read", put("src/a", "A\n"), nil,
		"files context, content src/a: " + copySrc + " -> " + runLib + "; " + fromLib + "; " + confs + "; " + addMore + "; " + here + "; " + runX},
	{"content of a file that is not read by what follows", put("src/b", "B\n"), nil, "files context, content src/b: " + copySrc + " -> " + runLib},
	{"a new file", put("src/new", "n"), nil, "files context, added src/new: " + copySrc + " -> " + runLib},
	{"a new folder", put("src/dir/new", "n"), nil, "files context, added src/dir: " + copySrc + " -> " + runLib},
	{"a file removed", func(at func(string) string) { must(os.Remove(at("src/b"))) }, nil, "files context, removed src/b: " + copySrc + " -> " + runLib},
	{"a file renamed", move("src/b", "src/bb"), nil, "files context, renamed src/bb src/b>src/bb: " + copySrc + " -> " + runLib},
	{"a file renamed in case only", move("src/b", "src/B"), nil, "files context, renamed src/B src/b>src/B: " + copySrc + " -> " + runLib},
	{"a file becomes a link", func(at func(string) string) { must(os.Remove(at("src/b"))); must(os.Symlink("a", at("src/b"))) }, nil,
		"files context, type src/b file>symlink: " + copySrc + " -> " + runLib},
	{"a mode", func(at func(string) string) { must(os.Chmod(at("src/b"), 0o755)) }, nil, "files context, mode src/b 0644>0755: " + copySrc + " -> " + runLib},
	{"an attribute", func(at func(string) string) { must(unix.Setxattr(at("src/b"), "user.k", []byte("v"), 0)) }, nil, "files context, xattr src/b: " + copySrc + " -> " + runLib},
	{"a file of a wildcard", put("conf/one.conf", "one"), nil, "files context, content conf/one.conf: " + confs + " -> " + addMore + "; " + here + "; " + runX},
	{"a new file of a wildcard", put("conf/three.conf", "3"), nil, "files context, added conf/three.conf: " + confs + " -> " + addMore + "; " + here + "; " + runX},
	{"a file that is mounted", put("data/x", "y"), nil, "files context, content data/x: " + runX},
	{"two files for two steps", both(put("more", "much more"), put("data/x", "z")), nil,
		"files context, content more, content data/x: " + addMore + "; " + runX + " -> " + here},
	{"what .dockerignore leaves out", put(".dockerignore", "**/*.log\nsrc/sub\n"), nil,
		"files context, removed src/sub: " + copySrc + " -> " + runLib + "\nsetting exclude patterns of context [\"**/*.log\"] => [\"**/*.log\",\"src/sub\"]: " + copySrc + " -> " + runLib},
	{"a variable", edit("Dockerfile", "MODE=fast", "MODE=slow"), nil, "env MODE fast => slow: " + runLib},
	{"a variable more", edit("Dockerfile", "MODE=fast", "MODE=fast MORE=1"), nil, "env MORE +1: " + runLib},
	{"a variable less", edit("Dockerfile", "ENV MODE=fast\n", ""), nil, "env MODE -fast: " + runLib},
	{"a build argument", nil, []string{"--build-arg", "VERSION=2"}, "arg VERSION 1 => 2: " + runLib},
	{"the default of an argument", edit("Dockerfile", "VERSION=1", "VERSION=3"), nil, "env VERSION 1 => 3: " + runLib},
	{"the words of a command", edit("Dockerfile", "RUN cat /src/a", "RUN  cat  /src/b /src/a"), nil,
		"command cat /src/a > /a => cat  /src/b /src/a > /a: RUN cat /src/b /src/a > /a -> " + fromLib + "; " + confs + "; " + addMore + "; " + here + "; " + runX},
	{"a heredoc", edit("Dockerfile", "\ntext\n", "\nother\n"), nil,
		`command 1 write /E --chmod=0644 "text\n" => write /E --chmod=0644 "other\n":  -> ` + here + "; " + runX},
	{"the mode that ADD sets", edit("Dockerfile", "--chmod=600", "--chmod=640"), nil,
		"command 1 copy /more /more --chmod=0600" + copyFlags + " => copy /more /more --chmod=0640" + copyFlags + ": ADD --chmod=640 more /more -> " + here + "; " + runX},
	{"where COPY puts it", edit("Dockerfile", "/conf/\n", "/etc/conf/\n"), nil,
		"command 1 copy /conf/*.conf /conf/" + strings.ReplaceAll(copyFlags, " --unpack", "") + " => copy /conf/*.conf /etc/conf/" + strings.ReplaceAll(copyFlags, " --unpack", "") + ": COPY conf/*.conf /etc/conf/ -> " + addMore + "; " + here + "; " + runX},
	{"a working directory", edit("Dockerfile", "WORKDIR /w", "WORKDIR /ww"), nil,
		"command 1 mkdir /w --chmod=0755 --parents => mkdir /ww --chmod=0755 --parents: WORKDIR /ww -> " + fromLib + "; " + confs + "; " + addMore + "; " + here + "; " + runX + "\nsetting directory /w => /ww: " + runX},
	{"a user", edit("Dockerfile", "RUN --mount", "USER root\nRUN --mount"), nil, "setting user +root: " + runX},
	{"a network", edit("Dockerfile", "RUN --mount", "RUN --network=none --mount"), nil, "setting network +none: RUN --network=none" + runX[3:]},
	{"a mount", edit("Dockerfile", "RUN --mount", "RUN --mount=type=tmpfs,target=/t --mount"), nil, "setting mount /t +type=tmpfs: RUN --mount=type=tmpfs,target=/t" + runX[3:]},
	{"a step removed", edit("Dockerfile", addMore+"\n", ""), nil, "input: " + here + " -> " + runX},
	{"a step between", edit("Dockerfile", addMore+"\n", "COPY unused /u\n"+addMore+"\n"), nil, "first: COPY unused /u -> " + addMore + "; " + here + "; " + runX},
	{"a step at the end", edit("Dockerfile", "> /x\n", "> /x\nRUN true\n"), nil, "first: RUN true"},
	{"no cache", nil, []string{"--no-cache"}, "no-cache --no-cache: " + strings.Join([]string{copySrc, runLib, fromLib, confs, addMore, here, runX}, "; ")},
	{"no cache for a stage", nil, []string{"--no-cache-filter", "lib"}, "no-cache --no-cache-filter=lib: " + copySrc + "; " + runLib + " -> " + strings.Join([]string{fromLib, confs, addMore, here, runX}, "; ")},
	{"a target", nil, []string{"--target", "lib"}, ""},
	{"another base image", nil, []string{otherBase},
		"image docker.io/library/base: WORKDIR /w; " + copySrc + " -> " + strings.Join([]string{runLib, fromLib, confs, addMore, here, runX}, "; ") + "\nenv OTHER +yes: " + runLib + "; " + runX + " -> " + strings.Join([]string{fromLib, confs, addMore, here}, "; ")},
	{"a secret", nil, []string{"--secret", "id=s,env=HOME"}, ""},
	{"two causes", both(put("data/x", "two"), edit("Dockerfile", "MODE=fast", "MODE=2")), nil, "env MODE fast => 2: " + runLib + "\nfiles context, content data/x: " + runX},
}

// must is for edits of files of a test.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func put(name, text string) func(func(string) string) {
	return func(at func(string) string) {
		must(os.MkdirAll(filepath.Dir(at(name)), 0o755))
		must(os.WriteFile(at(name), []byte(text), 0o644))
	}
}

func move(from, to string) func(func(string) string) {
	return func(at func(string) string) { must(os.Rename(at(from), at(to))) }
}

func edit(name, old, now string) func(func(string) string) {
	return func(at func(string) string) {
		dt, err := os.ReadFile(at(name))
		must(err)
		text := strings.Replace(string(dt), old, now, 1)
		if text == string(dt) {
			panic(fmt.Sprintf("%s has no %q", name, old))
		}
		must(os.WriteFile(at(name), []byte(text), 0o644))
	}
}

func both(a, b func(func(string) string)) func(func(string) string) {
	return func(at func(string) string) { a(at); b(at) }
}

// Each edit is told as the cause of just those steps that ran for it.
func TestWhy(t *testing.T) {
	testenv.Root(t)
	testenv.Tool(t, "runc")
	b := &whyBench{T: t, root: t.TempDir(), base: newBases(t, testenv.Tool(t, "busybox")).dir}
	for _, c := range whyCases {
		t.Run(c.name, func(t *testing.T) {
			b := &whyBench{T: t, root: b.root, base: b.base}
			dir := t.TempDir()
			at := func(name string) string { return filepath.Join(dir, name) }
			for name, text := range whyProject {
				put(name, text)(at)
			}
			b.build(dir)
			if c.edit != nil {
				c.edit(at)
			}
			b.build(dir, c.args...)
			var r why.Report
			check.OK(t, json.Unmarshal([]byte(b.run("why", "--json")), &r))
			if got := shortly(&r); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}
