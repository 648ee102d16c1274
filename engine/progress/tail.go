package progress

import (
	"bytes"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver/client"
)

// How much of a step's output a Tail keeps: lines, and bytes of one line.
const (
	tailLines = 20
	tailLine  = 4096
)

// Tail keeps the last lines that each step of a build has logged, to be shown with
// an error. The zero value is ready. A nil *Tail keeps nothing.
type Tail struct {
	mu    sync.Mutex // guards steps
	steps map[digest.Digest]*tail
}

// tail is the end of one step's output: whole lines, and the one being written.
type tail struct {
	lines [][]byte
	last  []byte
}

// Add takes what a message of the status stream has logged.
func (t *Tail) Add(st *client.SolveStatus) {
	if t == nil || len(st.Logs) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.steps == nil {
		t.steps = map[digest.Digest]*tail{}
	}
	for _, l := range st.Logs {
		if l == nil {
			continue
		}
		step, ok := t.steps[l.Vertex]
		if !ok {
			step = &tail{}
			t.steps[l.Vertex] = step
		}
		step.add(l.Data)
	}
}

func (t *tail) add(dt []byte) {
	for {
		line, rest, ended := bytes.Cut(dt, []byte{'\n'})
		if room := tailLine - len(t.last); room > 0 {
			t.last = append(t.last, line[:min(room, len(line))]...)
		}
		if !ended {
			return
		}
		if len(t.lines) == tailLines {
			t.lines = t.lines[1:]
		}
		t.lines = append(t.lines, bytes.TrimSuffix(t.last, []byte{'\r'}))
		t.last, dt = nil, rest
	}
}

// Lines returns the last lines of a step, oldest first, at most n. Lines that are
// very long are cut.
func (t *Tail) Lines(vertex digest.Digest, n int) []string {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	step, ok := t.steps[vertex]
	if !ok {
		return nil
	}
	lines := append([][]byte{}, step.lines...)
	if len(step.last) > 0 {
		lines = append(lines, step.last)
	}
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = string(l)
	}
	return out
}
