package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver/client"
)

// TestProjectGo builds examples/goservice and uses the service that comes of it.
func TestProjectGo(t *testing.T) {
	testenv.Root(t)
	testenv.Tool(t, "runc")
	p := newProject(t, "goservice",
		"--build-context", "busybox="+projectShell(t),
		"--build-context", "go="+projectGoRoot(t))
	check := func(answer string) func() {
		return func() { projectNotes(t, filepath.Join(p.out, "notesd"), answer) }
	}
	compiled := []string{
		"[build 1/2] COPY --exclude=**/*_test.go . .",
		"[build 2/2] RUN go build -ldflags \"-s -w -X main.version=dev\" -o /notesd ./cmd/notesd",
		"[stage-4 1/2] COPY --from=build /notesd /",
		"[stage-4 2/2] COPY --from=test /tests /",
	}
	tested := []string{
		"[test 1/2] COPY . .",
		"[test 2/2] RUN go vet ./... && go test ./... && echo passed > /tests",
	}
	resolved := []string{
		"[deps 1/3] COPY go.mod .",
		"[deps 2/3] COPY vendor vendor",
		"[deps 3/3] RUN go build net/http example.org/slug",
	}
	p.build("cold", slices.Concat([]string{
		"[shell 1/4] COPY --from=busybox busybox /bin/busybox",
		`[shell 2/4] RUN ["/bin/busybox", "--install", "-s", "/bin"]`,
		"[shell 3/4] RUN mkdir -p /tmp /root && chmod 1777 /tmp",
		"[shell 4/4] WORKDIR /src",
	}, resolved, tested, compiled), check("Buy milk"))
	p.build("cached", nil, check("Buy milk"))

	p.edit("notes/notes.go", `texts[name] = text`, `texts[name] = text + "!"`)
	p.edit("notes/notes_test.go", `text != "Hello, world"`, `text != "Hello, world!"`)
	p.edit("api/api_test.go", `"Buy milk\n"`, `"Buy milk!\n"`)
	// The log of the tests is as before, but it is copied onto another program.
	p.build("a source file and its tests changed", slices.Concat(tested, compiled), check("Buy milk!"))

	p.edit("api/api_test.go", `"/notes/none"`, `"/notes/nothing"`)
	p.build("a test changed", tested, nil)

	p.edit("README.md", "small", "little")
	p.build("a file that is ignored changed", nil, nil)

	p.edit("go.mod", "require example.org", "// What it needs.\nrequire example.org")
	p.build("go.mod changed", slices.Concat(resolved, tested, []string{compiled[0], compiled[1]}), nil)
}

// projectNotes starts the service, gives it the note "Buy milk", and compares what it
// then says that note is.
func projectNotes(t *testing.T, program, want string) {
	t.Helper()
	cmd := exec.Command(program, "-listen", "127.0.0.1:0")
	stdout, err := cmd.StdoutPipe()
	projectMust(t, err)
	projectMust(t, cmd.Start())
	defer func() {
		projectMust(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	projectMust(t, err)
	version, url, ok := strings.Cut(strings.TrimSpace(line), " on ")
	if !ok || version != "notesd dev" {
		t.Fatalf("the service says %q", line)
	}
	res, err := http.Post(url+"/notes", "text/plain", strings.NewReader("Buy milk"))
	projectAnswer(t, res, err, "buy-milk\n")
	res, err = http.Get(url + "/notes/buy-milk")
	projectAnswer(t, res, err, want+"\n")
}

func projectAnswer(t *testing.T, res *http.Response, err error, want string) {
	t.Helper()
	projectMust(t, err)
	defer res.Body.Close()
	dt, err := io.ReadAll(res.Body)
	projectMust(t, err)
	if string(dt) != want {
		t.Errorf("the service answers %q, not %q", dt, want)
	}
}

// TestProjectNode builds examples/nodeapp on a base image made of the machine's node.
func TestProjectNode(t *testing.T) {
	testenv.Root(t)
	testenv.Tool(t, "runc")
	base := projectNodeBase(t)
	p := newProject(t, "nodeapp", "--build-context", "node=oci-layout://"+base+":base")
	// The result has node and all it needs: it runs in its own tree.
	check := func(want string) func() {
		return func() { p.inside(want, "/bin/node", "/app/dist/main.js", "a rose is a rose, is a rose") }
	}
	packed := []string{
		"[packages 2/4] COPY packages /packages",
		"[packages 3/4] RUN npm pack --silent /packages/words /packages/tally",
	}
	installed := []string{
		"[deps 2/4] COPY package.json package-lock.json ./",
		"[deps 3/4] RUN npm ci --offline --no-audit --no-fund",
	}
	compiled := []string{
		"[build 1/3] COPY build.js ./",
		"[build 2/3] COPY src src",
		"[build 3/3] RUN npm run build",
	}
	tested := []string{
		"[test 1/2] COPY test test",
		"[test 2/2] RUN npm test && echo passed > /tests",
	}
	copied := []string{
		"[stage-4 2/5] COPY --from=deps /app/node_modules node_modules",
		"[stage-4 3/5] COPY --from=build /app/dist dist",
		"[stage-4 4/5] COPY --from=test /tests /",
	}
	p.build("cold", slices.Concat([]string{
		"[packages 1/4] WORKDIR /archives", "[deps 1/4] WORKDIR /app",
	}, packed, installed, compiled, tested, copied), check("3 a\n3 rose\n2 is\n"))
	p.build("cached", nil, check("3 a\n3 rose\n2 is\n"))

	p.edit("src/main.js", "${count} ${word}", "${word}: ${count}")
	p.build("a source file changed", slices.Concat(compiled[1:], tested, copied[1:]), check("a: 3\nrose: 3\nis: 2\n"))

	p.edit("test/top.test.js", "no words", "no words at all")
	p.build("a test changed", tested, nil)

	p.edit("packages/words/index.js", "toLowerCase()", "toUpperCase()")
	p.edit("test/top.test.js", `[["a", 3], ["rose", 3]]`, `[["A", 3], ["ROSE", 3]]`)
	p.build("a package changed", slices.Concat(packed, installed[1:], compiled, tested, copied), check("A: 3\nROSE: 3\nIS: 2\n"))

	p.edit("package.json", `"version": "1.0.0"`, `"version": "1.1.0"`)
	p.edit("package-lock.json", `"version": "1.0.0",`, `"version": "1.1.0",`)
	p.build("package.json changed", slices.Concat(installed, compiled, tested, copied), func() {
		dt, err := os.ReadFile(filepath.Join(p.out, "app/dist/main.js"))
		projectMust(t, err)
		if !bytes.HasPrefix(dt, []byte("// nodeapp 1.1.0\n")) {
			t.Errorf("what was built is of another version:\n%s", dt)
		}
	})
}

// TestProjectC builds examples/cproject on a base image made by debootstrap.
func TestProjectC(t *testing.T) {
	testenv.Root(t)
	if testing.Short() {
		t.Skip("debootstrap takes more than a minute; it is left out with -short")
	}
	testenv.Tool(t, "runc")
	base := projectDebian(t)
	p := newProject(t, "cproject", "--build-context", "debian=oci-layout://"+base+":base")
	check := func(args, want string) func() {
		return func() { p.inside(want, "/primes", args) }
	}
	compiled := []string{"[build 1/2] COPY src src", "[build 2/2] RUN make -j2"}
	tested := []string{"[test 1/2] COPY tests tests", "[test 2/2] RUN make check && echo passed > /tests"}
	copied := []string{"[stage-3 1/2] COPY --from=build /src/out/primes /", "[stage-3 2/2] COPY --from=test /tests /"}
	configured := []string{"[source 2/4] COPY Makefile config.mk ./", "[source 3/4] COPY include include"}
	p.build("cold", slices.Concat([]string{"[source 1/4] WORKDIR /src"}, configured, compiled, tested, copied), check("20", "2\n3\n5\n7\n11\n13\n17\n19\n"))
	p.build("cached", nil, check("20", "2\n3\n5\n7\n11\n13\n17\n19\n"))

	p.edit("src/main.c", `printf("%zu\n", prime)`, `printf("%zu\n", prime + 0 * sizeof prime)`)
	p.edit("src/main.c", `"primes " VERSION`, `"primes, version " VERSION`)
	p.build("a source file changed", slices.Concat(compiled, tested, copied), check("--version", "primes, version 1.0\n"))

	p.edit("tests/check.c", "{100, 25}, ", "{100, 25}, {1000, 168}, ")
	p.build("a test changed", tested, nil)

	p.edit("config.mk", "VERSION = 1.0", "VERSION = 1.1")
	p.build("config.mk changed", slices.Concat(configured, compiled, tested, copied), check("--version", "primes, version 1.1\n"))
}

// project is a copy of an example that is built again and again.
type project struct {
	t     *testing.T
	dir   string // the copy
	root  string // Tenon's
	out   string // what was built
	flags []string
}

func newProject(t *testing.T, name string, flags ...string) *project {
	t.Helper()
	temp := t.TempDir()
	p := &project{t: t, dir: filepath.Join(temp, name), root: filepath.Join(temp, "root"), out: filepath.Join(temp, "out"), flags: flags}
	projectMust(t, os.CopyFS(p.dir, os.DirFS(filepath.Join("../../examples", name))))
	return p
}

// build builds, compares the steps that ran with those that should, and checks the
// result.
func (p *project) build(when string, want []string, check func()) {
	p.t.Helper()
	projectMust(p.t, os.RemoveAll(p.out))
	var said bytes.Buffer
	c := &cli{in: strings.NewReader(""), out: io.Discard, err: &said, env: func(string) (string, bool) { return "", false }}
	args := append([]string{"build", "--root", p.root, "--progress", "rawjson", "-o", p.out}, p.flags...)
	begin := time.Now()
	code := c.main(context.Background(), append(args, p.dir))
	took := time.Since(begin)
	if code != 0 {
		p.t.Fatalf("%s: exit code %d\n%s", when, code, said.String())
	}
	ran := projectRan(said.Bytes())
	p.t.Logf("%-40s %6.2f s, %2d steps ran", when, took.Seconds(), len(ran))
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(ran, want) {
		p.t.Errorf("%s: what ran is\n\t%s\nand should be\n\t%s", when, strings.Join(ran, "\n\t"), strings.Join(want, "\n\t"))
	}
	if check != nil {
		check()
	}
}

// edit changes a file.
func (p *project) edit(name, from, to string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	dt, err := os.ReadFile(path)
	projectMust(p.t, err)
	if !bytes.Contains(dt, []byte(from)) {
		p.t.Fatalf("%s has no %q", name, from)
	}
	projectMust(p.t, os.WriteFile(path, bytes.Replace(dt, []byte(from), []byte(to), 1), 0o644))
}

// inside runs a program of the result in the result, and compares what it prints.
func (p *project) inside(want, program string, args ...string) {
	p.t.Helper()
	cmd := exec.Command("chroot", append([]string{"--userspec=1000:1000", p.out, program}, args...)...)
	cmd.Env = []string{"HOME=/"} // nothing of this process's
	got, err := cmd.CombinedOutput()
	if err != nil || string(got) != want {
		p.t.Errorf("%s prints %q and not %q (%v)", program, got, want, err)
	}
}

// projectRan reads from a build's progress which steps of the Dockerfile were
// executed: their names, without mounts, sorted.
func projectRan(said []byte) []string {
	names := map[string]string{} // by digest
	for line := range bytes.Lines(said) {
		var msg struct {
			Vertexes []struct {
				Digest, Name string
				Outcome      client.Outcome
			}
		}
		if json.Unmarshal(line, &msg) != nil {
			continue // said besides
		}
		for _, v := range msg.Vertexes {
			if v.Outcome == client.Executed && strings.HasPrefix(v.Name, "[") &&
				!strings.HasPrefix(v.Name, "[internal]") && !strings.HasPrefix(v.Name, "[context ") {
				words := slices.DeleteFunc(strings.Fields(v.Name), func(w string) bool { return strings.HasPrefix(w, "--mount=") })
				names[v.Digest] = strings.Join(words, " ")
			}
		}
	}
	var ran []string
	for _, name := range names {
		ran = append(ran, name)
	}
	slices.Sort(ran)
	return ran
}

func projectMust(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func projectRun(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w\n%s%s", cmd, err, out, stderr.Bytes()))
	}
	return string(out)
}
