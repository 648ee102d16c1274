package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/buildkit/identity"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// killMark is a variable of the environment of all processes of a test.
const killMark = "TENON_TEST_KILLED"

// killWorld is where TestKilled kills.
type killWorld struct {
	t                              *testing.T
	home                           string // all is below it
	layout, site, registry, cgroup string
	round                          int
	killer                         atomic.Pointer[killer] // of the command that runs
}

func (w *killWorld) path(name string) string { return filepath.Join(w.home, name) }

func newKillWorld(t *testing.T) *killWorld {
	testenv.Root(t)
	for _, tool := range []string{"runc", "slirp4netns"} {
		testenv.Tool(t, tool)
	}
	git := testenv.Tool(t, "git")
	layout, _ := scriptBase(t, testenv.Tool(t, "busybox"))
	registry := registrytest.New(t)
	w := &killWorld{t: t, home: t.TempDir(), layout: layout, registry: registry.Host + "/app:1", cgroup: "tenon-test-" + identity.NewID()}
	t.Cleanup(func() { unmountBelow(t, w.home); removeCgroupsBelow(t, w.cgroup) })
	for _, dir := range []string{"tmp", "out", "context/folder", "served"} {
		check.OK(t, os.MkdirAll(w.path(dir), 0o755))
	}
	big := make([]byte, 1<<20)
	for i := range big {
		big[i] = byte(rand.Uint32())
	}
	for name, dt := range map[string][]byte{
		"secret": []byte("swordfish"), "context/Dockerfile": []byte(killDockerfile), "context/big": big, "context/folder/f": big[:1000],
		"served/file": big[:300_000],
	} {
		check.OK(t, os.WriteFile(w.path(name), dt, 0o644))
	}
	w.program("tar", "-C", w.path("context"), "-cf", w.path("context.tar"), ".")
	repo := w.path("served/r")
	w.program(git, "init", "-q", repo)
	check.OK(t, os.WriteFile(filepath.Join(repo, "f"), big[:200_000], 0o644))
	w.program(git, "-C", repo, "add", ".")
	w.program(git, "-C", repo, "-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-q", "-m", "one")
	w.program(git, "clone", "-q", "--bare", repo, w.path("served/r.git"))
	site := httptest.NewServer(w.serve(siteHandler(git, w.path("served"))))
	t.Cleanup(site.Close)
	w.site = strings.TrimPrefix(site.URL, "http://")
	// An image to load, which the root does not have afterwards; and one to push and save.
	w.run("build", -1)
	w.tenon("images", "save", "-o", w.path("loaded.tar"), "app")
	w.tenon("images", "tag", "app", w.registry)
	return w
}

// serve serves one repository by many names: /git/ROUND/r.git. Where a build is to wait,
// it is killed in the middle of an answer.
func (w *killWorld) serve(h http.Handler) http.Handler {
	round := regexp.MustCompile(`^/git/\d+(git|http|run|)/`)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		m := round.FindStringSubmatch(r.URL.Path)
		if r.URL.Query().Get("wait") == "http" || (m != nil && m[1] == "git" && r.Method == http.MethodPost) {
			rw.Header().Set("Content-Type", "application/x-git-upload-pack-result")
			_, _ = rw.Write(make([]byte, 100_000))
			_ = http.NewResponseController(rw).Flush()
			w.killer.Load().now()
			<-r.Context().Done()
			return
		}
		r.URL.Path = round.ReplaceAllString(r.URL.Path, "/git/")
		h.ServeHTTP(rw, r)
	})
}

// program runs one that has to succeed, and is none of ours.
func (w *killWorld) program(name string, args ...string) {
	w.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		w.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func (w *killWorld) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Args[0] = "tenon"
	cmd.Dir = w.home
	cmd.Env = append(os.Environ(), "TMPDIR="+w.path("tmp"), "TENON_ROOT="+w.path("root"), "HOME="+w.home, "BUILDKIT_PROGRESS=rawjson",
		"GIT_CONFIG_GLOBAL="+os.DevNull, killMark+"="+w.cgroup)
	return cmd
}

// tenon runs a command to its end, and returns what it says.
func (w *killWorld) tenon(args ...string) string {
	w.t.Helper()
	cmd := w.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("tenon %s: %v\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}

func (w *killWorld) entries(dir string) (names []string) {
	w.t.Helper()
	entries, err := os.ReadDir(w.path(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// processes are those that the commands have left. Some end by themselves when they
// find that they are alone, so they get a while for it.
func (w *killWorld) processes() (left []string) {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.t.Context(), time.Minute)
	defer stop()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	check.OK(w.t, err)
	for _, dir := range dirs {
		var pid int
		_, err := fmt.Sscanf(filepath.Base(dir), "%d", &pid)
		check.OK(w.t, err)
		if pid == os.Getpid() || !w.owns(dir) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if !ended(ctx, pid) {
			left = append(left, fmt.Sprint(pid, " ", strings.ReplaceAll(string(line), "\x00", " ")))
		}
	}
	return left
}

// owns says whether a process is of this world: by its environment, its command line,
// or what is mounted where it is and not here.
func (w *killWorld) owns(dir string) bool {
	here, _ := os.Readlink("/proc/self/ns/mnt")
	for _, file := range []string{"environ", "cmdline", "mountinfo"} {
		if ns, err := os.Readlink(filepath.Join(dir, "ns/mnt")); file == "mountinfo" && (err != nil || ns == here) {
			continue
		}
		dt, err := os.ReadFile(filepath.Join(dir, file))
		if err == nil && (bytes.Contains(dt, []byte(killMark+"="+w.cgroup)) || bytes.Contains(dt, []byte(w.path("root")))) {
			return true
		}
	}
	return false
}

// ended waits for a process, which is no child, to end.
func ended(ctx context.Context, pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return errors.Is(err, unix.ESRCH)
	}
	defer unix.Close(fd)
	deadline, _ := ctx.Deadline()
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds())+1)
		if n > 0 || (err != nil && !errors.Is(err, unix.EINTR)) {
			return n > 0
		}
	}
	return false
}

// cgroupsBelow are those of containers below a parent, deepest first.
func cgroupsBelow(t testing.TB, parent string) (found []string) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		tops, err := filepath.Glob(pattern + parent + "/*/*")
		check.OK(t, err)
		for _, top := range tops {
			if fi, err := os.Stat(top); err == nil && fi.IsDir() {
				found = append(found, top)
			}
		}
	}
	return found
}

func removeCgroupsBelow(t testing.TB, parent string) {
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		for _, below := range []string{"/*/*", "/*", ""} {
			dirs, err := filepath.Glob(pattern + parent + below)
			check.OK(t, err)
			for _, dir := range dirs {
				_ = unix.Rmdir(dir) // most are files
			}
		}
	}
}

// whole: what is at the place of an archive is all of one.
func (w *killWorld) whole(after string) {
	w.t.Helper()
	for _, name := range []string{"oci.tar", "saved.tar", "tree.tar"} {
		f, err := os.Open(w.path("out/" + name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		check.OK(w.t, err)
		r, n := tar.NewReader(f), 0
		for ; err == nil; n++ {
			if _, err = r.Next(); err == nil {
				_, err = io.Copy(io.Discard, r)
			}
		}
		if err != io.EOF || n < 2 {
			w.t.Errorf("after %s, %s has %d entries, and then %v", after, name, n-1, err)
		}
		check.OK(w.t, f.Close())
	}
}

// du is what the command says is on the disk.
func (w *killWorld) du() int64 {
	w.t.Helper()
	out := w.tenon("du")
	m := regexp.MustCompile(`(?m)^total: ([^,]+),`).FindStringSubmatch(out)
	if m == nil {
		w.t.Fatalf("du says no total:\n%s", out)
	}
	n, err := units.FromHumanSize(m[1])
	check.OK(w.t, err)
	return n
}

// onDisk is what the state folder takes: each file once.
func (w *killWorld) onDisk() (size int64) {
	seen := map[uint64]bool{}
	check.OK(w.t, filepath.WalkDir(w.path("root"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if st := fi.Sys().(*syscall.Stat_t); !seen[st.Ino] {
			seen[st.Ino] = true
			size += st.Blocks * 512
		}
		return nil
	}))
	return size
}

// empty removes all images and all that nobody needs.
func (w *killWorld) empty() {
	w.t.Helper()
	for _, id := range strings.Fields(w.tenon("images", "ls", "-q")) {
		w.tenon("images", "rm", "-f", id)
	}
	w.tenon("history", "rm", "--all")
	w.tenon("prune", "-a", "-f")
}

// listed is what there is in the state folder, without names that are random.
func (w *killWorld) listed() (names []string) {
	random := regexp.MustCompile(`[0-9a-f]{32,}|\d+|[0-9a-z]{25}`)
	check.OK(w.t, filepath.WalkDir(w.path("root"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(w.path("root"), path)
		names = append(names, random.ReplaceAllString(name, "#"))
		return err
	}))
	slices.Sort(names)
	return names
}
