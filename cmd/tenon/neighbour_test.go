package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// While an image is built and written out, another user of the machine finds none of
// its files, and no program of it that makes him root; nor a secret, or the context.
func TestNeighbourSeesNothing(t *testing.T) {
	testenv.Root(t)
	testenv.Tool(t, "runc")
	layout, _ := scriptBase(t, testenv.Tool(t, "busybox"))
	for _, snapshotter := range []string{"overlayfs", "native"} {
		t.Run(snapshotter, func(t *testing.T) {
			home, err := os.MkdirTemp("", "tenon-neighbour-")
			check.OK(t, err)
			t.Cleanup(func() { unmountBelow(t, home); check.OK(t, os.RemoveAll(home)) })
			tmp := filepath.Join(home, "tmp")
			check.OK(t, os.Mkdir(tmp, 0o777))
			for dir, mode := range map[string]os.FileMode{home: 0o755, tmp: 0o777 | os.ModeSticky} {
				check.OK(t, os.Chmod(dir, mode))
			}
			spy := startSpy(t, tmp)
			for n := range 3 {
				neighbourBuild(t, home, layout, snapshotter, strconv.Itoa(n))
			}
			spy.end(t)
		})
	}
}

// The text of all that another user must not find, and the name of a setuid program.
const (
	hiddenText = "hidden-from-neighbours"
	hiddenSuid = "become-root"
)

const neighbourDockerfile = `FROM base AS one
COPY context /etc/readable
RUN cp /bin/busybox /bin/` + hiddenSuid + ` && chmod 4755 /bin/` + hiddenSuid + ` && echo %s
FROM scratch AS two
COPY --from=one --link /bin/` + hiddenSuid + ` /bin/
ADD archive.tar /unpacked/
FROM one
COPY --from=two --link / /linked/
RUN --mount=type=bind,from=one,source=/bin,target=/x --mount=type=cache,target=/c \
    --mount=type=secret,id=s --mount=type=secret,id=s,env=S cp /run/secrets/s /c/s && cp /x/` + hiddenSuid + ` /c/
`

func neighbourBuild(t *testing.T, home, layout, snapshotter, n string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"Dockerfile": fmt.Sprintf(neighbourDockerfile, n), "context": hiddenText, "secret": hiddenText,
	} {
		check.OK(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	check.OK(t, exec.Command("tar", "-C", dir, "-cf", filepath.Join(dir, "archive.tar"), "context").Run())
	cmd := exec.Command(os.Args[0], "build", "--root", filepath.Join(home, "root"), "--build-context", "base=oci-layout://"+layout+":base",
		"--secret", "id=s,src="+filepath.Join(dir, "secret"), "-o", "type=oci,dest="+filepath.Join(dir, "oci.tar"),
		"-o", "type=tar,dest="+filepath.Join(dir, "out.tar"), "-o", filepath.Join(dir, "out"), dir)
	cmd.Args[0] = "tenon"
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join(home, "tmp"), "TENON_SNAPSHOTTER="+snapshotter, "BUILDKIT_PROGRESS=plain")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// spy is a process of another user, which looks everywhere.
type spy struct {
	cmd  *exec.Cmd
	stop func() error
	out  bytes.Buffer
}

func startSpy(t *testing.T, tmp string) *spy {
	t.Helper()
	exe := filepath.Join(tmp, "spy")
	check.OK(t, exec.Command("cp", os.Args[0], exe).Run())
	check.OK(t, os.Chmod(exe, 0o755))
	s := &spy{cmd: exec.Command(exe, tmp)}
	s.cmd.Args[0] = "tenon-spy"
	s.cmd.Dir = "/"
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	s.cmd.Stdout, s.cmd.Stderr = &s.out, os.Stderr
	in, err := s.cmd.StdinPipe()
	check.OK(t, err)
	s.stop = in.Close
	check.OK(t, s.cmd.Start())
	return s
}

func (s *spy) end(t *testing.T) {
	t.Helper()
	check.OK(t, s.stop())
	check.OK(t, s.cmd.Wait())
	looks, found, _ := strings.Cut(s.out.String(), "\n")
	if n, err := strconv.Atoi(looks); err != nil || n < 10 {
		t.Errorf("the spy has looked %q times", looks)
	}
	if found != "" {
		t.Errorf("another user found:\n%s", found)
	}
}

// spyMain looks until its input ends, and then says how often, and what it found: a
// line each.
func spyMain() {
	found := map[string]bool{}
	ended := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		close(ended)
	}()
	for looks := 1; ; looks++ {
		for _, dir := range spyPlaces(os.Args[1]) {
			spyLook(dir, 6, found)
		}
		select {
		case <-ended:
			fmt.Println(looks)
			for line := range found {
				fmt.Println(line)
			}
			return
		default:
		}
	}
}

// spyPlaces are where temporary files are, what processes have, and what is mounted.
func spyPlaces(tmp string) []string {
	places := []string{tmp}
	roots, _ := filepath.Glob("/proc/[0-9]*/root")
	places = append(places, roots...)
	info, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], filepath.Dir(tmp)) {
			places = append(places, f[4])
		}
	}
	return places
}

func spyLook(dir string, depth int, found map[string]bool) {
	if strings.HasPrefix(dir, "/proc/") { // of other processes: their root is no more to be walked than ours
		if _, err := os.ReadDir(dir); err != nil {
			return
		}
		depth = 0
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir() && depth > 0:
			spyLook(path, depth-1, found)
		case e.Name() == hiddenSuid:
			found["a program: "+path] = true
			if out, err := exec.Command(path, "id", "-u").Output(); err == nil {
				found["it ran as uid "+strings.TrimSpace(string(out))] = true
			}
		case e.Type().IsRegular():
			if text, err := os.ReadFile(path); err == nil && len(text) < 1<<20 && bytes.Contains(text, []byte(hiddenText)) {
				found["a file: "+path] = true
			}
		}
	}
}
