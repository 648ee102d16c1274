package packaging_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/internal/testenv"
)

// What make image makes is what buildx's drivers expect of an image: programs by the names
// that they start, and what tenond starts itself. Its first stage begins with a Debian that is
// made here, since a test pulls no images.
func TestImage(t *testing.T) {
	if testing.Short() {
		t.Skip("gets packages from Debian's mirror, which takes a minute or two")
	}
	testenv.Root(t)
	testenv.Tool(t, "runc")
	mmdebstrap := testenv.Tool(t, "mmdebstrap")
	dir := t.TempDir()
	base, tree := filepath.Join(dir, "base"), filepath.Join(dir, "tree")
	run(t, dir, nil, mmdebstrap, "--variant=apt", "trixie", base, "http://deb.debian.org/debian")
	output := []string{"VERSION=" + version, "ROOT=" + filepath.Join(dir, "root"), "PLATFORMS=linux/" + runtime.GOARCH}
	run(t, "", append(output, "OUTPUT="+tree), "./image", "--build-context", "debian:trixie-slim="+base)

	in := func(args ...string) string { return run(t, "", nil, "chroot", append([]string{tree}, args...)...) }
	for _, name := range []string{"buildkitd", "buildctl"} {
		// A driver reads the third of four words.
		if w := strings.Fields(in(name, "--version")); len(w) != 4 || !strings.HasPrefix(w[2], "v") {
			t.Errorf("%s --version says %q", name, w)
		}
	}
	if fi, err := os.Stat(filepath.Join(tree, "etc/ssl/certs/ca-certificates.crt")); err != nil || fi.Size() == 0 {
		t.Errorf("the certificates of authorities: %v, %v", fi, err)
	}
	tryImage(t, tree)
}

// inside runs what tenond starts, and buildkitd, of a tree of files, with what a privileged
// container has. It ends with its standard input.
const inside = `
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
for dir in sys dev; do mount --rbind /$dir $dir; done
chroot . sh -ec 'runc --version; ssh -V; git init -q /tmp/r; cd /tmp/r; git submodule --quiet init'
chroot . buildkitd &
cat >/dev/null
kill $!
wait $!`

// tryImage has a daemon of an image's tree build something, as buildx's drivers reach it.
func tryImage(t *testing.T, tree string) {
	t.Helper()
	for _, dir := range []string{"proc", "sys", "dev"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// It outlives the test's context, since it is to end well.
	cmd := exec.Command(testenv.Tool(t, "unshare"), "--mount", "--pid", "--fork", "--kill-child", "sh", "-e", "-c", inside, "sh", tree)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Errorf("the daemon: %v\n%s", err, said.String())
		}
	})
	for exec.CommandContext(t.Context(), "chroot", tree, "buildctl", "debug", "workers").Run() != nil {
		if t.Context().Err() != nil {
			t.Fatal("the daemon does not answer")
		}
	}
	dir := t.TempDir()
	busybox, err := os.ReadFile(testenv.Tool(t, "busybox"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "busybox"), busybox, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY busybox /bin/sh\nRUN id >/who\n"), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, nil, filepath.Join(tree, "usr/bin/tenon"), "--addr", "unix://"+filepath.Join(tree, "run/buildkit/buildkitd.sock"),
		"build", "-o", "out", ".")
	if dt, err := os.ReadFile(filepath.Join(dir, "out/who")); err != nil || !strings.HasPrefix(string(dt), "uid=0") {
		t.Errorf("the step says %q, %v", dt, err)
	}
}
