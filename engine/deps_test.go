package engine_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tenonbuild/tenon/"

// goList returns what go list prints for packages, a line each.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, stderr.Bytes())
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func below(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// The original solver is a peer to be measured, and no part of Tenon. Of what is
// below it two packages of types come in with libraries that are used.
func TestOriginalSolverIsNotImported(t *testing.T) {
	const original = "github.com/moby/buildkit/"
	allowed := []string{
		"solver/errdefs", "solver/llbsolver/cdidevices", "solver/llbsolver/compat", "solver/llbsolver/provenance/types", "solver/pb", "solver/result",
		"cache/remotecache/v1/types", "source/types", "exporter/containerimage/exptypes", "exporter/exptypes", "exporter/verifier",
	}
	for _, path := range goList(t, "-deps", module+"engine/...", module+"cmd/...") {
		rest, ok := strings.CutPrefix(path, original)
		if !ok || slices.Contains(allowed, rest) {
			continue
		}
		for _, theirs := range []string{"solver", "cache", "source", "exporter", "control", "worker", "frontend/dockerfile/builder"} {
			if below(rest, theirs) {
				t.Errorf("%s comes in: it is, or imports, the original solver", path)
			}
		}
	}
}

// The arrows of ARCHITECTURE.md: what a package may import of the engine. What is
// not named may import nothing of it.
func TestLayers(t *testing.T) {
	may := map[string][]string{
		"engine":                       {"engine"}, // it puts all parts together
		"cmd/tenon":                    {"engine"},
		"cmd/tenond":                   {"engine"},
		"engine/contenthash":           {"engine/store"},
		"engine/execop":                {"engine/contenthash", "engine/emulation", "engine/failed", "engine/session", "engine/store", "engine/verify"},
		"engine/failed":                {"engine/store"},
		"engine/fileop":                {"engine/contenthash", "engine/failed", "engine/store"},
		"engine/ops":                   {"engine/contenthash", "engine/execop", "engine/failed", "engine/fileop", "engine/llb", "engine/session", "engine/source", "engine/store", "engine/verify"},
		"engine/frontend":              {"engine/failed", "engine/llb", "engine/store"},
		"engine/images":                {"engine/registry", "engine/store"},
		"engine/gcpolicy":              {"engine/store"},
		"engine/query":                 {"engine/images", "engine/store"},
		"engine/query/remote":          {"engine/images", "engine/query", "engine/store"},
		"engine/export":                {"engine/images", "engine/registry", "engine/session", "engine/store"},
		"engine/frontend/dockerfile":   {"engine/llb", "engine/session"},
		"engine/registry":              {"engine/session"},
		"engine/registry/registrytest": {"engine/session"},
		"engine/session/sessiontest":   {"engine/session"},
		"engine/objects":               {"engine/registry"},
		"engine/objects/objectstest":   {"engine/registry"},
		"engine/remotecache":           {"engine/cachesign", "engine/objects", "engine/registry", "engine/session", "engine/store"},
		"engine/runtime":               {"engine/runtime"},
		"engine/store":                 {"engine/store/boltpages"},
		"engine/session/local":         {"engine/cachesign", "engine/session"},
		"engine/session/remote":        {"engine/session"},
		"engine/session/serve":         {"engine/session"},
		"engine/treediff":              {"engine/contenthash", "engine/filediff", "engine/progress"},
		"engine/verify":                {"engine/filediff", "engine/progress", "engine/store", "engine/treediff"},
		"engine/filediff":              {"engine/progress"},
		"engine/filetrees":             {"engine/contenthash", "engine/treediff"},
		"engine/why":                   {"engine/filediff", "engine/progress", "engine/treediff"},
		"engine/plan":                  {"engine/why"},
		"engine/why/view":              {"engine/why"},
		"engine/history":               {"engine/evictions", "engine/filetrees", "engine/gcpolicy", "engine/why"},
		"engine/recorder":              {"engine"},
		"engine/daemon":                {"engine"},
		"engine/control":               {"engine"},
		"engine/source":                {"engine/contenthash", "engine/provenance", "engine/registry", "engine/session", "engine/source", "engine/store"},
		"engine/internal":              {"engine"}, // of tests
	}
	for _, line := range goList(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"engine/...", module+"cmd/...") {
		fields := strings.Fields(strings.ReplaceAll(line, module, ""))
		pkg := fields[0]
		rule := pkg
		for _, group := range []string{"engine/source", "engine/internal"} {
			if below(pkg, group) {
				rule = group
			}
		}
		if below(pkg, "engine/source/internal/sourcetest") {
			rule = "engine/internal"
		}
		for _, imported := range fields[1:] {
			if !below(imported, "engine") && !below(imported, "cmd") {
				continue
			}
			if !slices.ContainsFunc(may[rule], func(root string) bool { return below(imported, root) }) {
				t.Errorf("%s imports %s: an arrow that ARCHITECTURE.md does not have", pkg, imported)
			}
		}
	}
}

// ARCHITECTURE.md names each package, by the end of its path, and no file or package
// that is not there.
func TestLayersAreNamed(t *testing.T) {
	text, err := os.ReadFile("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	named := strings.FieldsFunc(string(text), func(r rune) bool { return r == '`' })
	for _, path := range goList(t, module+"...") {
		path = strings.TrimPrefix(path, module)
		if below(path, "bench") {
			continue // its README does
		}
		if !slices.ContainsFunc(named, func(n string) bool {
			n = strings.TrimSuffix(n, "/")
			return n != "" && (path == n || strings.HasSuffix(path, "/"+n))
		}) {
			t.Errorf("ARCHITECTURE.md does not name the package %s", path)
		}
	}
	for _, n := range named {
		top, _, _ := strings.Cut(n, "/")
		if !slices.Contains([]string{"engine", "cmd", "internal", "packaging", "solver", "bench"}, top) || strings.ContainsAny(n, " \n") {
			continue
		}
		there := func(dir string) bool {
			found, _ := filepath.Glob(filepath.Join(dir, strings.TrimSuffix(n, "/...")))
			return len(found) > 0
		}
		if !there("..") && !there("../solver") {
			t.Errorf("ARCHITECTURE.md names %s, which is not there", n)
		}
	}
}

// Trees are mounted by store.MountLocal, and so where no other user of the machine gets
// to. What libraries have for it mounts in the folder of temporary files.
func TestDepsMounts(t *testing.T) {
	theirs := []string{"snapshot.LocalMounter", "mount.WithTempMount", "mount.WithReadonlyTempMount"}
	for _, line := range goList(t, "-f", `{{range .GoFiles}}{{$.Dir}}/{{.}} {{end}}`, module+"engine/...", module+"cmd/...") {
		for name := range strings.FieldsSeq(line) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range theirs {
				if bytes.Contains(text, []byte(call)) {
					t.Errorf("%s calls %s: use store.MountLocal", name, call)
				}
			}
		}
	}
}
