package progress_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/containerd/console"

	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/solver/client"
)

var update = flag.Bool("update", false, "write the screens that are shown to testdata; look at them afterwards")

// drawing is set for a process that draws a screen: whether there are colors is settled when it
// begins.
const drawing = "TENON_TEST_DRAWS"

// drawScreen shows on a stream a build of which steps say why they run.
func drawScreen(t *testing.T, out *os.File, mode string) {
	s := &stream{ch: make(chan *client.SolveStatus, 100), begin: time.Now()}
	const (
		copied = "[build 1/3] COPY src/ /src/"
		ran    = "[build 2/3] RUN --mount=type=cache,target=/root/.cache make --jobs=8 --directory=/src all install"
	)
	s.ch <- s.vertex("[internal] load build definition from Dockerfile", 0, 0.1, client.Executed)
	s.ch <- s.vertex(copied, 1, -1, "")
	s.ch <- s.status(copied, progress.Why+"a file of context differs: modified src/package/with/a/long/name/main.go (10 → 12 bytes)", 1, 1)
	s.ch <- s.vertex(copied, 1, 1.5, client.Executed)
	s.ch <- s.vertex(ran, 2, -1, "")
	s.ch <- s.status(ran, progress.Why+"follows "+copied, 2, 2)
	s.ch <- s.vertex(ran, 2, 14.5, client.Executed)
	s.ch <- s.vertex("[tools 2/2] RUN true", 1, 1, client.Cached)
	s.ch <- s.vertex("[build 3/3] COPY --from=tools /a /a", 15, -1, "")
	failed := s.vertex("[build 3/3] COPY --from=tools /a /a", 15, 15.2, client.Failed)
	failed.Vertexes[0].Error = `"/a" not found in the result of [tools 2/2] RUN true`
	s.ch <- failed
	close(s.ch)
	all := &client.SolveStatus{} // one message: what is drawn does not depend on when it is
	for st := range s.ch {
		all.Vertexes, all.Statuses = append(all.Vertexes, st.Vertexes...), append(all.Statuses, st.Statuses...)
	}
	one := make(chan *client.SolveStatus, 1)
	one <- all
	close(one)
	if _, err := progress.Display(t.Context(), out, mode, one); err != nil {
		t.Fatal(err)
	}
}

// What is shown of a build is what was looked at: at 80 and 200 columns, with and without
// colors, and without a terminal.
func TestScreens(t *testing.T) {
	if mode := os.Getenv(drawing); mode != "" {
		drawScreen(t, os.Stdout, mode)
		os.Exit(0)
	}
	for _, c := range []struct {
		name, mode string
		width      uint16
		env        string
	}{
		{"plain", progress.Plain, 80, ""},
		{"80", progress.TTY, 80, ""},
		{"200", progress.TTY, 200, ""},
		{"80-nocolor", progress.TTY, 80, "NO_COLOR=1"},
		{"200-nocolor", progress.TTY, 200, "NO_COLOR=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := drawn(t, c.width, drawing+"="+c.mode, c.env)
			if colored := strings.Contains(got, "m =>"); colored != (c.mode == progress.TTY && c.env == "") {
				t.Errorf("colors: %v", colored)
			}
			name := filepath.Join("testdata", "screens", c.name+".txt")
			if *update {
				if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(got), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("it shows\n%s\nwant\n%s", got, want)
			}
		})
	}
}

var (
	moved   = regexp.MustCompile("\x1b\\[[0-9]*[A-HJK]|\x1b\\[\\?[0-9]+[lh]|\x1b[78]")
	elapsed = regexp.MustCompile(`Building [0-9.]+s`)
)

// drawn is what a process of this test draws on a terminal, without what moves the cursor, and
// with escape codes as text.
func drawn(t *testing.T, width uint16, env ...string) string {
	t.Helper()
	master, path, err := console.NewPty()
	if err != nil {
		t.Skip("no pseudo terminal here: ", err)
	}
	defer master.Close()
	slave, err := os.OpenFile(path, os.O_RDWR, 0)
	if err = errors.Join(err, master.Resize(console.WinSize{Width: width, Height: 40})); err != nil {
		t.Fatal(err)
	}
	screen := make(chan string)
	go func() {
		dt, _ := io.ReadAll(master) // ends with an error when the terminal is closed
		screen <- string(dt)
	}()
	cmd := exec.Command(os.Args[0], "-test.run=^TestScreens$")
	cmd.Env = append([]string{"TERM=xterm-256color", "PATH=" + os.Getenv("PATH")}, env...)
	cmd.Stdout, cmd.Stderr = slave, slave
	if err := errors.Join(cmd.Run(), slave.Close()); err != nil {
		t.Fatal(err)
	}
	got := moved.ReplaceAllString(strings.ReplaceAll(<-screen, "\r\n", "\n"), "")
	got = elapsed.ReplaceAllString(got, "Building Ts")
	if at := strings.LastIndex(got, "[+] Building"); at > 0 { // the last of what was drawn one upon the other
		got = got[at:]
	}
	var lines []string
	for line := range strings.SplitSeq(got, "\n") {
		lines = append(lines, strings.TrimRight(strings.ReplaceAll(line, "\x1b", "<ESC>"), " "))
	}
	return fmt.Sprintln(strings.TrimSpace(strings.Join(lines, "\n")))
}
