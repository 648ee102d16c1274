package progress_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/console"
	bkclient "github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/solver/client"
)

// stream plays messages to a display.
type stream struct {
	ch    chan *client.SolveStatus
	begin time.Time
}

func (s *stream) send(st *client.SolveStatus) {
	s.ch <- st
	// The display takes its time to print; this is a bubble's time.
	time.Sleep(time.Second)
}

// at is a time so long after the beginning.
func (s *stream) at(seconds float64) *time.Time {
	t := s.begin.Add(time.Duration(seconds * float64(time.Second)))
	return &t
}

// vertex makes a message about one vertex. Times are in seconds, or negative for none.
func (s *stream) vertex(name string, started, completed float64, outcome client.Outcome) *client.SolveStatus {
	v := &client.Vertex{Digest: digest.FromString(name), Name: name, Outcome: outcome, Cached: outcome == client.Cached}
	if started >= 0 {
		v.Started = s.at(started)
	}
	if completed >= 0 {
		v.Completed = s.at(completed)
	}
	return &client.SolveStatus{Vertexes: []*client.Vertex{v}}
}

func (s *stream) log(name, text string, at float64) *client.SolveStatus {
	return &client.SolveStatus{Logs: []*client.VertexLog{{Vertex: digest.FromString(name), Stream: 1, Data: []byte(text), Timestamp: *s.at(at)}}}
}

func (s *stream) status(name, id string, at, completed float64) *client.SolveStatus {
	st := &client.VertexStatus{ID: id, Vertex: digest.FromString(name), Timestamp: *s.at(at), Started: s.at(at)}
	if completed >= 0 {
		st.Completed, st.Timestamp = s.at(completed), *s.at(completed)
	}
	return &client.SolveStatus{Statuses: []*client.VertexStatus{st}}
}

// show plays what play sends, and returns what the display wrote.
func show(t *testing.T, mode string, play func(*stream), also ...progress.Observer) (string, []bkclient.VertexWarning) {
	t.Helper()
	var out bytes.Buffer
	var warnings []bkclient.VertexWarning
	synctest.Test(t, func(t *testing.T) {
		s := &stream{ch: make(chan *client.SolveStatus), begin: time.Now()}
		go func() {
			defer close(s.ch)
			play(s)
		}()
		var err error
		if warnings, err = progress.Display(t.Context(), &out, mode, s.ch, also...); err != nil {
			t.Error(err)
		}
	})
	return out.String(), warnings
}

func plain(t *testing.T, want string, play func(*stream)) {
	t.Helper()
	got, _ := show(t, progress.Plain, play)
	if got, want := strings.TrimSpace(got), strings.TrimSpace(want); got != want {
		t.Errorf("it shows\n%s\nwant\n%s", got, want)
	}
}

func TestPlainOutcomes(t *testing.T) {
	plain(t, `
#1 cached
#1 CACHED

#2 run
#2 1.500 hello
#2 1.500 world
#2 DONE 1.5s

#3 shared
#3 shared with an equal step
#3 DONE 1.5s

#4 shared at once
#4 shared with an equal step
#4 DONE 0.0s`, func(s *stream) {
		for _, name := range []string{"not needed", "cached", "run", "shared"} {
			s.send(s.vertex(name, -1, -1, ""))
		}
		s.send(s.vertex("cached", 1, 1.5, client.Cached))
		s.send(s.vertex("run", 2, -1, ""))
		s.send(s.log("run", "hello\nworld\n", 3.5))
		s.send(s.vertex("run", 2, 3.5, client.Executed))
		s.send(s.vertex("shared", 4, -1, ""))
		s.send(s.vertex("shared", 4, 5.5, client.Shared))
		s.send(s.vertex("shared at once", -100, 0, client.Shared))
		s.send(s.vertex("not needed", -1, 6, client.NotNeeded))
	})
}

// A source that finds out what it is reports something before it starts, and may
// then not be needed.
func TestPlainLooking(t *testing.T) {
	plain(t, `
#1 git
#1 resolving main
#1 resolving main 0.5s done
#1 DONE 0.5s

#2 http
#2 downloading
#2 downloading 0.5s done
#2 DONE 0.5s

#2 http
#2 CACHED

#3 talks
#3 0.000 text
#3 not needed
#3 DONE 2.0s

#4 local
#4 transferring
#4 transferring 1.5s done
#4 DONE 2.0s

#5 next
#5 why: it has to
#5 0.000 why: it has to done
#5 DONE 1.0s

#6 [internal] file
#6 transferring 0.5s done
#6 DONE 0.5s

#7 [internal] load build definition from Dockerfile
#7 reading
#7 reading 0.5s done
#7 DONE 2.0s`, func(s *stream) {
		s.send(s.vertex("git", -1, -1, ""))
		s.send(s.status("git", "resolving main", 1, -1))
		s.send(s.status("git", "resolving main", 1, 1.5))
		s.send(s.vertex("http", -1, -1, ""))
		s.send(s.status("http", "downloading", 2, -1))
		s.send(s.status("http", "downloading", 2, 2.5))
		s.send(s.vertex("http", 3, 3.5, client.Cached))
		s.send(s.vertex("talks", -1, -1, ""))
		s.send(s.log("talks", "text\n", 4))
		s.send(s.vertex("talks", -1, 6, client.NotNeeded))
		s.send(s.vertex("git", -1, 6, client.NotNeeded))
		// It goes on from looking to running without a pause.
		s.send(s.vertex("local", -1, -1, ""))
		s.send(s.status("local", "transferring", 7, -1))
		s.send(s.vertex("local", 8, -1, ""))
		s.send(s.status("local", "transferring", 7, 8.5))
		s.send(s.vertex("local", 8, 9, client.Executed))
		s.send(s.vertex("next", 9, -1, ""))
		s.send(s.status("next", progress.Why+"it has to", 9, 9))
		s.send(s.log("next", "why: it has to done\n", 9)) // the step's own words
		s.send(s.vertex("next", 9, 10, client.Executed))
		s.send(s.vertex("[internal] file", -1, -1, ""))
		s.send(s.status("[internal] file", "transferring", 11, -1))
		s.send(s.status("[internal] file", "transferring", 11, 11.5))
		s.send(s.vertex("[internal] file", 12, 12, client.Cached))
		const definition = "[internal] load build definition from Dockerfile"
		s.send(s.vertex(definition, -1, -1, ""))
		s.send(s.status(definition, "reading", 13, -1))
		s.send(s.status(definition, "reading", 13, 13.5))
		s.send(s.vertex(definition, 14, -1, ""))
		s.send(s.vertex(definition, 14, 15, client.Executed))
	})
}

func TestPlainFailure(t *testing.T) {
	plain(t, `
#1 bad
#1 1.000 oh
#1 ERROR: exit code: 1

#2 other
#2 CANCELED

#3 source
#3 ERROR: no such host
------
 > bad:
1.000 oh
------
------
 > source:
------`, func(s *stream) {
		bad := s.vertex("bad", 0, 1, client.Failed)
		bad.Vertexes[0].Error = "exit code: 1"
		s.send(s.vertex("bad", 0, -1, ""))
		s.send(s.log("bad", "oh\n", 1))
		s.send(bad)
		s.send(s.vertex("other", 0, 2, client.Canceled))
		s.send(s.vertex("after", -1, 2, client.Canceled))
		source := s.vertex("source", -1, 3, client.Failed)
		source.Vertexes[0].Error = "no such host"
		s.send(source)
	})
}

func TestPlainNamesAndWarnings(t *testing.T) {
	got, warnings := show(t, progress.Plain, func(s *stream) {
		st := s.vertex("[1/1] \x1b[2Jname\nnext", 0, 1, client.Executed)
		st.Warnings = []*client.VertexWarning{{
			Vertex: st.Vertexes[0].Digest, Level: 1, Short: []byte("odd"), Detail: [][]byte{[]byte("very")}, URL: "https://x.example",
			SourceInfo: &client.SourceInfo{Filename: "Dockerfile", Data: []byte("FROM x"), Language: "Dockerfile"},
			Range:      []*client.Range{{Start: client.Position{Line: 1}, End: client.Position{Line: 2, Character: 3}}},
		}}
		s.send(st)
	})
	if want := "#1 [1/1]  [2Jname next\n#1 DONE 1.0s\n"; got != want {
		t.Errorf("it shows %q, want %q", got, want)
	}
	if len(warnings) != 1 {
		t.Fatalf("warnings: %+v", warnings)
	}
	w := warnings[0]
	if string(w.Short) != "odd" || len(w.Detail) != 1 || w.URL != "https://x.example" || w.SourceInfo.GetFilename() != "Dockerfile" ||
		len(w.Range) != 1 || w.Range[0].GetStart().GetLine() != 1 || w.Range[0].GetEnd().GetCharacter() != 3 {
		t.Errorf("warning: %+v", w)
	}
}

func TestRawJSON(t *testing.T) {
	out, warnings := show(t, progress.RawJSON, func(s *stream) {
		s.send(s.vertex("x", -1, 1, client.NotNeeded))
		s.send(s.status("x", "look", 1, 2))
		st := s.log("x", "text", 1)
		st.Warnings = []*client.VertexWarning{{Short: []byte("odd")}}
		s.send(st)
	})
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || len(warnings) != 1 {
		t.Fatalf("%d warnings, and\n%s", len(warnings), out)
	}
	var first struct {
		Vertexes []struct{ Name, Outcome string }
	}
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil || first.Vertexes[0].Outcome != "not needed" || first.Vertexes[0].Name != "x" {
		t.Errorf("%s: %+v, %v", lines[0], first, err)
	}
	// What reads BuildKit's messages reads ours.
	var rest bkclient.SolveStatus
	for _, l := range lines {
		if err := json.Unmarshal([]byte(l), &rest); err != nil {
			t.Errorf("%s: %v", l, err)
		}
	}
	if len(rest.Logs) != 1 || string(rest.Logs[0].Data) != "text" || len(rest.Statuses) != 1 {
		t.Errorf("read back: %+v", rest)
	}
}

func TestQuietTellsTail(t *testing.T) {
	var tail progress.Tail
	out, _ := show(t, progress.Quiet, func(s *stream) {
		s.send(s.vertex("x", 0, -1, ""))
		s.send(s.log("x", "one\ntw", 1))
		s.send(s.log("x", "o\r\nthree", 1))
	}, &tail)
	if out != "" {
		t.Errorf("quiet writes %q", out)
	}
	if got := strings.Join(tail.Lines(digest.FromString("x"), 2), "|"); got != "two|three" {
		t.Errorf("tail is %q", got)
	}
	tail.Add(&client.SolveStatus{Logs: []*client.VertexLog{nil, {Vertex: "y", Data: bytes.Repeat([]byte("line\n"), 1000)}, {Vertex: "y", Data: bytes.Repeat([]byte("x"), 1<<20)}}})
	if lines := tail.Lines("y", 100); len(lines) > 30 || len(lines[len(lines)-1]) > 1<<16 {
		t.Errorf("tail keeps %d lines", len(lines))
	}
}

func TestDisplayEndsWithContext(t *testing.T) {
	for _, mode := range []string{progress.Plain, progress.RawJSON} {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("why")
		cancel(why)
		if _, err := progress.Display(ctx, io.Discard, mode, make(chan *client.SolveStatus)); !errors.Is(err, why) {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestModes(t *testing.T) {
	for _, m := range []string{"", "auto", "tty", "plain", "quiet", "rawjson"} {
		if err := progress.CheckMode(m); err != nil {
			t.Errorf("%q: %v", m, err)
		}
	}
	if err := progress.CheckMode("fancy"); err == nil || !strings.Contains(err.Error(), "rawjson") {
		t.Errorf("fancy: %v", err)
	}
	// Who sends is not kept waiting by a display that cannot begin, or go on.
	for mode, out := range map[string]io.Writer{"tty": io.Discard, "fancy": io.Discard, "rawjson": full{}} {
		ch := make(chan *client.SolveStatus)
		go func() {
			defer close(ch)
			for range 3 {
				ch <- &client.SolveStatus{}
			}
		}()
		if _, err := progress.Display(t.Context(), out, mode, ch); err == nil {
			t.Errorf("%s: no error", mode)
		}
	}
}

// full is a disk that is.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestTTY(t *testing.T) {
	master, path, err := console.NewPty()
	if err != nil {
		t.Skip("no pseudo terminal here: ", err)
	}
	slave, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := master.Resize(console.WinSize{Width: 100, Height: 30}); err != nil {
		t.Fatal(err)
	}
	screen := make(chan string)
	go func() {
		dt, _ := io.ReadAll(master) // ends with an error when the terminal is closed
		screen <- string(dt)
	}()
	s := &stream{ch: make(chan *client.SolveStatus, 100), begin: time.Now()}
	s.ch <- s.vertex("unneeded", -1, -1, "")
	s.ch <- s.vertex("fetched", -1, -1, "")
	s.ch <- s.vertex("cached", 1, 1.5, client.Cached)
	s.ch <- s.vertex("run", 2, -1, "")
	s.ch <- s.status("fetched", "looking", 2, -1)
	s.ch <- s.status("fetched", "looking", 2, 2.5)
	s.ch <- s.vertex("run", 2, 3.5, client.Executed)
	s.ch <- s.vertex("theirs", 4, 5.5, client.Shared)
	s.ch <- s.vertex("fetched", -1, 6, client.NotNeeded)
	s.ch <- s.vertex("unneeded", -1, 6, client.NotNeeded)
	close(s.ch)
	_, err = progress.Display(t.Context(), slave, progress.Auto, s.ch)
	if err = errors.Join(err, slave.Close()); err != nil {
		t.Fatal(err)
	}
	got := <-screen
	for _, want := range []string{"(4/4) FINISHED", "CACHED cached", "theirs (shared with an equal step)", "=> run", "=> fetched"} {
		if !strings.Contains(got, want) {
			t.Errorf("the screen does not show %q:\n%s", want, got)
		}
	}
	for _, not := range []string{"unneeded", "CACHED run", "CACHED fetched", "CACHED theirs"} {
		if strings.Contains(got, not) {
			t.Errorf("the screen shows %q:\n%s", not, got)
		}
	}
	if err := master.Close(); err != nil {
		t.Error(err)
	}
}

// What an image stands for is fetched when a step needs it, and is the image's work.
func TestPlainFetchedLater(t *testing.T) {
	plain(t, `
#1 FROM image
#1 resolve
#1 resolve 0.5s done
#1 DONE 0.5s

#1 FROM image
#1 layer
#1 extracting
#1 layer 3.0s done
#1 extracting 1.0s done
#1 DONE 4.5s

#2 RUN true
#2 DONE 0.5s`, func(s *stream) {
		s.send(s.vertex("FROM image", 0, -1, ""))
		s.send(s.status("FROM image", "resolve", 0, -1))
		s.send(s.status("FROM image", "resolve", 0, 0.5))
		s.send(s.vertex("FROM image", 0, 0.5, client.Executed))
		s.send(s.vertex("RUN true", -1, -1, ""))
		s.send(s.status("FROM image", "layer", 1, -1))
		s.send(s.status("FROM image", "extracting", 4, -1))
		s.send(s.status("FROM image", "layer", 1, 4))
		s.send(s.status("FROM image", "extracting", 4, 5))
		s.send(s.vertex("RUN true", 5, 5.5, client.Executed))
	})
}

// A part of a step that failed may never be told to have ended: the step has.
func TestPlainFailureWithOpenStatus(t *testing.T) {
	plain(t, `
#1 image
#1 resolve
#1 resolve 1.0s done
#1 ERROR: no such host

#2 other
#2 resolve 1.0s done
#2 ERROR: no such host
------
 > image:
------
------
 > other:
------`, func(s *stream) {
		failed := func(name string) *client.SolveStatus {
			st := s.vertex(name, 0, 1, client.Failed)
			st.Vertexes[0].Error = "no such host"
			return st
		}
		s.send(s.vertex("image", 0, -1, ""))
		s.send(s.status("image", "resolve", 0, -1))
		s.send(failed("image"))
		s.send(s.vertex("other", 0, -1, ""))
		both := failed("other")
		both.Statuses = s.status("other", "resolve", 0, -1).Statuses
		s.send(both)
	})
}
