package solver_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// pkg is a package as go list tells it.
type pkg struct {
	ImportPath   string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// list lists packages.
func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports,TestImports,XTestImports"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.Bytes())
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

const self = "github.com/tenonbuild/tenon/solver"

// under reports whether a package is one of these, or below one.
func under(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return path == root || strings.HasPrefix(path, root+"/") })
}

// An embedder gains these packages and no others.
func TestDependencies(t *testing.T) {
	var (
		vocabulary = []string{
			self,
			"github.com/opencontainers/go-digest",
			"github.com/opencontainers/image-spec/specs-go",
			"github.com/containerd/containerd/v2/core/content",
		}
		// What core/content itself needs.
		content = []string{
			"github.com/containerd/containerd/v2/internal/randutil",
			"github.com/containerd/containerd/v2/pkg/filters",
			"github.com/containerd/errdefs",
			"github.com/containerd/log",
			"github.com/sirupsen/logrus",
			"golang.org/x/sync/semaphore",
			"golang.org/x/sys",
		}
	)
	for root, allowed := range map[string][]string{
		self:             slices.Concat(vocabulary, content),
		self + "/client": {self + "/client", "github.com/opencontainers/go-digest"},
		// It is for whoever keeps something on a disk.
		self + "/solvertest/powercut": {self + "/solvertest/powercut"},

		self + "/solvertest":        slices.Concat(vocabulary, content),
		self + "/logstore":          slices.Concat(vocabulary, content),
		self + "/filestore":         slices.Concat(vocabulary, content),
		self + "/internal/edge":     {self + "/internal/edge"},
		self + "/internal/graph":    {self + "/internal/graph", self + "/internal/edge"},
		self + "/internal/keygraph": {self + "/internal/keygraph", self + "/internal/rows"},
		self + "/internal/rows":     {self + "/internal/rows"},
		self + "/internal/slots":    {self + "/internal/slots"},
	} {
		for _, p := range list(t, "-deps", root) {
			if !p.Standard && !under(p.ImportPath, allowed...) {
				t.Errorf("%s needs %s", root, p.ImportPath)
			}
			if under(p.ImportPath, "github.com/moby/buildkit") {
				t.Errorf("%s needs the original: %s", root, p.ImportPath)
			}
		}
	}
	if root := self; slices.ContainsFunc(list(t, "-deps", root), func(p pkg) bool { return under(p.ImportPath, self+"/logstore", self+"/filestore") }) {
		t.Errorf("%s needs a disk", root)
	}
}

// The layers are held apart, in tests as well: nothing below imports the original,
// and the machine nothing but the standard library.
func TestLayers(t *testing.T) {
	for _, p := range list(t, "./...") {
		for _, in := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if under(in, "github.com/moby/buildkit") {
				t.Errorf("%s imports %s", p.ImportPath, in)
			}
			if under(in, "github.com/tenonbuild/tenon") && !under(in, self) {
				t.Errorf("%s imports %s, which is above it", p.ImportPath, in)
			}
		}
		if !strings.HasSuffix(p.ImportPath, "/internal/edge") {
			continue
		}
		for _, in := range p.Imports {
			if strings.Contains(in, ".") {
				t.Errorf("%s imports %s", p.ImportPath, in)
			}
			if slices.Contains([]string{"time", "sync", "sync/atomic", "os", "io", "net", "context"}, in) {
				t.Errorf("%s imports %s: it decides, and does nothing", p.ImportPath, in)
			}
		}
	}
}
