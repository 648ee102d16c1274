package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// TestDocs runs the commands of the documents. Of each page, the blocks that begin
// with ```sh are run one after the other by one shell, in an empty directory, as
// someone would type them who reads the page from its top. A block that cannot be run
// here says so, and why: ```sh not run: needs docker.
//
// For the pages, docker.io is a registry with an image busybox, and $REGISTRY one that
// takes what is pushed.
func TestDocs(t *testing.T) {
	testenv.Root(t)
	for _, tool := range []string{"runc", "git", "skopeo"} {
		testenv.Tool(t, tool)
	}
	pages, err := filepath.Glob("../../docs/*.md")
	scriptOK(t, err)
	bin := t.TempDir()
	self, err := os.Executable()
	scriptOK(t, err)
	scriptOK(t, os.Symlink(self, filepath.Join(bin, "tenon"))) // see TestMain
	for _, page := range append(pages, "../../README.md") {
		t.Run(filepath.Base(page), func(t *testing.T) {
			text, err := os.ReadFile(page)
			scriptOK(t, err)
			docsLinks(t, page, string(text))
			docsConfigurations(t, string(text))
			docsTests(t, string(text))
			if script := docsScript(t, string(text)); script != "" {
				docsRun(t, bin, script)
			}
		})
	}
}

// docsLinks checks that the files a page links to are there.
func docsLinks(t *testing.T, page, text string) {
	for _, m := range regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`).FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
			t.Errorf("a link leads nowhere: %v", err)
		}
	}
}

// docsConfigurations checks that the blocks of toml on a page are configuration files.
func docsConfigurations(t *testing.T, text string) {
	for _, m := range regexp.MustCompile("(?ms)^```toml\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		path := filepath.Join(t.TempDir(), "tenon.toml")
		scriptOK(t, os.WriteFile(path, []byte(m[1]), 0o600))
		c := &cli{env: environment("TENON_CONFIG", path, "TENON_ROOT", t.TempDir())}
		if _, err := c.configure(); err != nil {
			t.Errorf("a block of toml is refused: %v", err)
		}
	}
}

// TestDocsOutputs: the attributes of outputs that the page and the help list are those
// that there are.
func TestDocsOutputs(t *testing.T) {
	text, err := os.ReadFile("../../docs/outputs.md")
	scriptOK(t, err)
	listed := map[string][]string{}
	var types [][]string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			types = regexp.MustCompile("`type=(\\w+)`").FindAllStringSubmatch(line, -1)
		}
		row := regexp.MustCompile("^\\| `([a-z.-]+)` \\|").FindStringSubmatch(line)
		for _, typ := range types {
			if row != nil && row[1] != "dest" {
				listed[typ[1]] = append(listed[typ[1]], row[1])
			}
		}
	}
	help := (&cli{}).buildCommand().Long
	for typ := range export.Builtin(export.Deps{}) {
		slices.Sort(listed[typ])
		known := export.Attributes(typ)
		if !slices.Equal(listed[typ], known) {
			t.Errorf("type=%s has %q, the page lists %q", typ, known, listed[typ])
		}
		for _, name := range append(known, typ) {
			if !regexp.MustCompile(`(?m)[ ,]` + regexp.QuoteMeta(name) + `\b`).MatchString(help) {
				t.Errorf("the help does not name %s", name)
			}
		}
	}
}

// docsTests checks that the tests and examples by which a page shows something are there.
func docsTests(t *testing.T, text string) {
	named := regexp.MustCompile("`((?:Test|Example)[A-Z_][A-Za-z_]*)`").FindAllStringSubmatch(text, -1)
	if len(named) == 0 {
		return
	}
	var all bytes.Buffer
	scriptOK(t, filepath.WalkDir("../../solver", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		all.Write(source)
		return err
	}))
	for _, m := range named {
		if !bytes.Contains(all.Bytes(), []byte("\nfunc "+m[1]+"(")) {
			t.Errorf("there is no %s", m[1])
		}
	}
}

// docsReasons are why a block is not run.
var docsReasons = map[string]bool{
	"needs another machine": true, "needs docker": true, "needs containerd": true, "needs podman": true, // another engine
	"installs": true, "is run by CI": true, "the whole test suite": true, "needs a network": true,
	"is an example": true, // of what the reader has, such as a repository
}

// docsScript is what the blocks of a page have a shell do.
func docsScript(t *testing.T, text string) string {
	var script strings.Builder
	fence, running := "", false
	for i, line := range strings.Split(text, "\n") {
		info, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && fence == "":
			fence = "```"
			kind, reason, skipped := strings.Cut(info, " not run: ")
			running = kind == "sh" && !skipped
			if skipped && !docsReasons[reason] {
				t.Errorf("line %d: %q is no reason for not running a block", i+1, reason)
			}
			if kind == "sh" && running {
				fmt.Fprintf(&script, "echo '== line %d' >&2\n", i+1)
			}
			if kind == "" {
				t.Errorf("line %d: the block does not say what it is: sh, text, ...", i+1)
			}
		case isFence:
			fence, running = "", false
		case running:
			script.WriteString(line + "\n")
		case fence == "" && regexp.MustCompile(`^( {4}|\t)\S*(tenon|make|docker) `).MatchString(line):
			t.Errorf("line %d: a command outside a block of sh, which nothing runs: %s", i+1, line)
		}
	}
	if fence != "" {
		t.Error("a block does not end")
	}
	return script.String()
}

func docsRun(t *testing.T, bin, script string) {
	hub, own := registrytest.New(t), registrytest.New(t)
	ref, err := name.ParseReference(hub.Host+"/library/busybox:latest", name.Insecure)
	scriptOK(t, err)
	scriptOK(t, remote.Write(ref, scriptImage(t, testenv.Tool(t, "busybox"), nil)))
	home := t.TempDir()
	config := filepath.Join(home, "tenon.toml")
	scriptOK(t, os.WriteFile(config, fmt.Appendf(nil, "[registry.\"docker.io\"]\nmirrors = [%q]\n", hub.Host), 0o600))

	work := t.TempDir()
	t.Cleanup(func() { unmountBelow(t, home) })
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail")
	cmd.Dir, cmd.Stdin = work, strings.NewReader(script)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(),
		"PATH="+bin+":"+os.Getenv("PATH"), "HOME="+home, "REGISTRY="+own.Host+"/you", "BUILDKIT_PROGRESS=plain",
		"TENON_CONFIG="+config, "TENON_ROOT="+filepath.Join(home, "root"), "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=you", "GIT_AUTHOR_EMAIL=you@example.com", "GIT_COMMITTER_NAME=you", "GIT_COMMITTER_EMAIL=you@example.com")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	t.Logf("%s", out.Bytes())
}
