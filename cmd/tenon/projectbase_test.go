package main

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/tenonbuild/tenon/internal/testenv"
)

// projectShell is a folder with the machine's busybox.
func projectShell(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	projectRun(t, "cp", testenv.Tool(t, "busybox"), filepath.Join(dir, "busybox"))
	return dir
}

func projectGoRoot(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(projectRun(t, testenv.Tool(t, "go"), "env", "GOROOT"))
}

// projectNodeBase is an image of the machine's node and npm, the libraries that node
// needs, and a busybox.
func projectNodeBase(t *testing.T) string {
	t.Helper()
	node, err := filepath.EvalSymlinks(testenv.Tool(t, "node"))
	projectMust(t, err)
	npm, err := filepath.EvalSymlinks(testenv.Tool(t, "npm"))
	projectMust(t, err)
	npm = filepath.Dir(filepath.Dir(npm)) // the package, whose bin the program is in
	busybox := testenv.Tool(t, "busybox")

	tree := filepath.Join(t.TempDir(), "tree")
	for _, d := range []string{"bin", "usr/bin", "usr/lib", "tmp", "root"} {
		projectMust(t, os.MkdirAll(filepath.Join(tree, d), 0o755))
	}
	projectMust(t, os.Chmod(filepath.Join(tree, "tmp"), 0o1777))
	projectRun(t, "cp", busybox, filepath.Join(tree, "bin/busybox"))
	for _, name := range []string{"sh", "echo", "cat", "ls", "mkdir"} {
		projectMust(t, os.Symlink("busybox", filepath.Join(tree, "bin", name)))
	}
	projectMust(t, os.Symlink("/bin/busybox", filepath.Join(tree, "usr/bin/env")))
	// Node looks for Debian's packages relative to where it is itself, so it stays there.
	projectMust(t, os.Symlink(node, filepath.Join(tree, "bin/node")))
	for _, lib := range append(projectLibraries(t, node), node) {
		to := filepath.Join(tree, lib)
		projectMust(t, os.MkdirAll(filepath.Dir(to), 0o755))
		projectRun(t, "cp", "-L", lib, to)
	}
	// Debian's npm has its packages beside it, npm's own has them inside.
	from := npm
	if parent := filepath.Dir(npm); filepath.Base(parent) == "nodejs" {
		from = parent
	}
	to := filepath.Join(tree, filepath.Dir(from))
	projectMust(t, os.MkdirAll(to, 0o755))
	projectRun(t, "cp", "-a", from, to)
	projectMust(t, os.Symlink(filepath.Join(npm, "bin/npm-cli.js"), filepath.Join(tree, "bin/npm")))

	archive := filepath.Join(t.TempDir(), "layer.tar")
	projectRun(t, "tar", "--owner=0", "--group=0", "--numeric-owner", "-C", tree, "-cf", archive, ".")
	return projectLayout(t, archive, v1.Config{Env: []string{"PATH=/bin:/usr/bin", "HOME=/root"}})
}

// projectLibraries are the shared libraries that a program needs, and its loader.
func projectLibraries(t *testing.T, program string) (paths []string) {
	t.Helper()
	path := regexp.MustCompile(`(/\S+) \(0x`)
	for line := range strings.Lines(projectRun(t, testenv.Tool(t, "ldd"), program)) {
		if m := path.FindStringSubmatch(line); m != nil {
			paths = append(paths, m[1])
		}
	}
	return paths
}

// projectDebian is an image of the machine's own release of Debian with a C compiler,
// made by debootstrap from where the machine gets its packages. It takes a while, so
// its archive is kept: in $TENON_TEST_CACHE or the user's cache folder.
func projectDebian(t *testing.T) string {
	t.Helper()
	testenv.Tool(t, "apt-get")
	debootstrap := testenv.Tool(t, "debootstrap")
	release, mirror := projectRelease(t)
	cache := os.Getenv("TENON_TEST_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		projectMust(t, err)
		cache = filepath.Join(user, "tenon-test")
	}
	projectMust(t, os.MkdirAll(cache, 0o755))
	archive := filepath.Join(cache, "debootstrap-"+release+"-c.tar")
	if _, err := os.Stat(archive); err != nil {
		begin := time.Now()
		work := t.TempDir()
		tree := filepath.Join(work, "tree")
		projectRun(t, debootstrap, "--variant=minbase", "--include=gcc,make,libc6-dev", release, tree, mirror)
		// What a base image does not need is left out. The archive appears at once, for
		// tests that are killed.
		tmp := archive + ".part"
		projectRun(t, "tar", "--numeric-owner", "-C", tree, "-cf", tmp,
			"--exclude=./dev/*", "--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*",
			"--exclude=./usr/share/doc/*", "--exclude=./usr/share/locale/*", "--exclude=./usr/share/man/*", ".")
		projectMust(t, os.Rename(tmp, archive))
		t.Logf("%-40s %6.2f s", "debootstrap", time.Since(begin).Seconds())
	}
	return projectLayout(t, archive, v1.Config{Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}})
}

// projectRelease is the machine's release of Debian, or of one like it, and where apt
// is configured to get it from.
func projectRelease(t *testing.T) (codename, mirror string) {
	t.Helper()
	f, err := os.Open("/etc/os-release")
	projectMust(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "VERSION_CODENAME="); ok {
			codename = strings.Trim(v, `"`)
		}
	}
	projectMust(t, lines.Err())
	targets := projectRun(t, "apt-get", "indextargets", "--format", "$(SITE) $(CODENAME) $(COMPONENT)", "Created-By: Packages")
	for line := range strings.Lines(targets) {
		if w := strings.Fields(line); len(w) == 3 && w[1] == codename && w[2] == "main" {
			return codename, w[0]
		}
	}
	t.Fatalf("apt is not configured to get the packages of %q (run apt-get update):\n%s", codename, targets)
	return "", ""
}

// projectLayout makes an OCI layout with an image of one layer, whose tag is "base".
func projectLayout(t *testing.T, archive string, config v1.Config) string {
	t.Helper()
	dt, err := os.ReadFile(archive)
	projectMust(t, err)
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(dt, types.OCIUncompressedLayer))
	projectMust(t, err)
	cfg, err := img.ConfigFile()
	projectMust(t, err)
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Config = "linux", runtime.GOARCH, config
	img, err = mutate.ConfigFile(img, cfg)
	projectMust(t, err)
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	projectMust(t, err)
	projectMust(t, p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "base"})))
	return dir
}
