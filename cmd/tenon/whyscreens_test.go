package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/console"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/treediff"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/solver/client"
)

// seen returns what draw writes to a terminal that is so wide, or to none.
func seen(t *testing.T, width int, draw func(*cli)) string {
	t.Helper()
	r, w, err := os.Pipe()
	check.OK(t, err)
	if width > 0 {
		master, path, err := console.NewPty()
		check.OK(t, err)
		check.OK(t, master.Resize(console.WinSize{Width: uint16(width), Height: 50}))
		check.OK(t, errors.Join(r.Close(), w.Close()))
		w, err = os.OpenFile(path, os.O_RDWR, 0)
		check.OK(t, err)
		defer master.Close()
		screen := make(chan string)
		go func() { screen <- readAll(master) }()
		draw(&cli{out: w})
		check.OK(t, w.Close())
		return <-screen
	}
	screen := make(chan string)
	go func() { screen <- readAll(r) }()
	draw(&cli{out: w})
	check.OK(t, w.Close())
	return <-screen
}

// readAll reads until a terminal is closed, which is an error.
func readAll(r io.Reader) string {
	dt, _ := io.ReadAll(r)
	return strings.ReplaceAll(string(dt), "\r\n", "\n")
}

// shownBuild is a build of long names. Ran says which steps ran.
func shownBuild(ref, command string, ran ...int) *why.Build {
	b := &why.Build{Version: why.Version, Ref: ref, Project: "/home/u/project\nDockerfile", Ended: time.Now().Add(-3 * time.Hour)}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	long := strings.Repeat(" --with-a-flag", 9)
	for i, text := range []string{"RUN " + command + long, "COPY --from=tools /usr/local/bin/ /usr/local/bin/", "RUN make -j4 all"} {
		s := why.Step{
			Digest: digest.FromString(fmt.Sprint(i, command)), Name: fmt.Sprintf("[linux/amd64 build %d/4] %s", i+2, text),
			Kind: why.OpExec, Outcome: client.Cached, Ops: []digest.Digest{digest.FromString(text)}, Facts: []why.Fact{{Kind: why.FactCommand, Value: strings.TrimPrefix(text, "RUN ")}},
			Started: at, Ended: at.Add(time.Duration(i*1300) * time.Millisecond), Asked: []string{"local", "registry example.com/cache"},
		}
		s.Place = why.PlaceOf(s.Name)
		s.Place.File, s.Place.Line = "Dockerfile", 4+i
		if i > 0 {
			last := &b.Steps[i-1]
			s.Inputs = []why.Input{{Step: last.Digest, Keys: []string{last.Digest.String()}}}
		}
		for _, n := range ran {
			if n == i {
				s.Outcome = client.Executed
			}
		}
		b.Steps = append(b.Steps, s)
	}
	return b
}

// What tenon why shows is what was looked at, at 80 and 200 columns and without a terminal. It
// has no colors, whatever the terminal has.
func TestWhyScreens(t *testing.T) {
	old, now := shownBuild("y6g7lv5imofjaaaaaaaaaaaaa", "./configure", 0, 1, 2), shownBuild("jn98opj6671aaaaaaaaaaaaaa", "./configure --prefix=/opt", 0, 1, 2)
	now.Caches = []why.Cache{{Name: "example.com/cache", Error: "not found"}}
	cached := shownBuild("zn98opj6671aaaaaaaaaaaaaa", "./configure")
	files := why.Cause{Kind: why.Files, Name: "context", More: 3}
	for i := range 25 {
		files.Files = append(files.Files, treediff.Change{Path: fmt.Sprintf("src/package/with/a/long/name/file-%02d.go", i), Kind: treediff.Content, Old: "10", New: "12"})
	}
	for _, width := range []int{0, 80, 200} {
		screen := seen(t, width, func(c *cli) {
			explain := func(b *why.Build, earlier ...*why.Build) *why.Explainer {
				return why.NewExplainer(t.Context(), b, earlier, nil)
			}
			title := func(text string) { fmt.Fprintf(c.out, "\n=== %s\n", text) }
			title("why")
			check.OK(t, c.whyBuild(explain(now, old).Report(), now, false, nil))
			title("why, of the first build")
			check.OK(t, c.whyBuild(explain(old).Report(), old, true, nil))
			title("why, of a cached build")
			check.OK(t, c.whyBuild(explain(cached, old).Report(), cached, false, nil))
			title("why of a step")
			check.OK(t, c.whyStep(explain(now, old), &now.Steps[2], nil))
			title("why of many files")
			printCause(c.text(), &files)
		})
		if strings.Contains(screen, "\x1b") {
			t.Errorf("at %d columns there are escape codes:\n%q", width, screen)
		}
		name := filepath.Join("testdata", "screens", fmt.Sprintf("why-%d.txt", width))
		if *update {
			check.OK(t, os.MkdirAll(filepath.Dir(name), 0o755))
			check.OK(t, os.WriteFile(name, []byte(screen), 0o644))
		}
		want, err := os.ReadFile(name)
		check.OK(t, err)
		check.Equal(t, name, screen, string(want))
	}
}
