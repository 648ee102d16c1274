package solver_test

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// heap is how many bytes are in use.
func heap() int64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

const megabyte = 1 << 20

// noteOf finds the note of what was not kept.
var noteOf = regexp.MustCompile(`\[\d+ bytes of output were not kept\]\n`)

// contract 27, 28, fault 8: of much that an op logs, the head and the tail are kept for who
// joins late, with a note that tells what is missing; after Discard nothing is kept.
func TestMuchIsLogged(t *testing.T) {
	const lines = 30_000
	line := func(i int) []byte {
		return append(fmt.Appendf(nil, "line %d ", i), bytes.Repeat([]byte("x"), 1000)...)
	}
	for name, log := range map[string]func(p *solver.Progress){
		"lines": func(p *solver.Progress) {
			for i := range lines {
				p.Log(1, line(i))
			}
		},
		"one report": func(p *solver.Progress) {
			var all []byte
			for i := range lines {
				all = append(all, line(i)...)
			}
			p.Log(1, all)
		},
		"few large reports": func(p *solver.Progress) {
			for i := range lines / 10_000 {
				var all []byte
				for k := range 10_000 {
					all = append(all, line(i*10_000+k)...)
				}
				p.Log(1, all)
			}
		},
	} {
		for _, to := range []string{"vertex", "job"} {
			t.Run(name+"/"+to, func(t *testing.T) {
				w := newWorld(t)
				s := w.solver()
				before := heap()
				j := w.job(s)
				n := w.node("n")
				if to == "vertex" {
					n.OnExec = func(ctx context.Context, _ []solver.Result) error {
						log(solver.ProgressFrom(ctx))
						return nil
					}
				} else {
					log(solver.ProgressFrom(j.Context(t.Context())))
				}
				w.buildIn(j, n.Edge(0))
				if kept := heap() - before; kept > 16*megabyte {
					t.Errorf("%d MB are kept", kept/megabyte)
				}
				ch := make(chan *client.SolveStatus)
				go j.Status(context.Background(), ch)
				var got []byte
				discarded := make(chan struct{})
				for m := range ch {
					for _, l := range m.Logs {
						if to == "vertex" && l.Vertex != n.Digest() || l.Stream != 1 || l.Timestamp.IsZero() {
							t.Errorf("a log of %s, stream %d at %v", l.Vertex, l.Stream, l.Timestamp)
						}
						got = append(got, l.Data...)
					}
					if j != nil && bytes.Contains(got, fmt.Appendf(nil, "line %d ", lines-1)) {
						last := j
						j = nil
						go func() {
							defer close(discarded)
							last.Discard()
						}()
					}
				}
				<-discarded
				text := string(got)
				first, last := strings.Index(text, "line 0 "), strings.Index(text, fmt.Sprint("line ", lines-1))
				note := strings.Index(text, "bytes of output were not kept")
				if first != 0 || note < megabyte/2 || last < note || len(text) > 4*megabyte {
					t.Errorf("of %d bytes, the first line is at %d, the note at %d, the last line at %d", len(text), first, note, last)
				}
				dropped, all := 0, 0
				kept := noteOf.ReplaceAllStringFunc(text, func(note string) string {
					fmt.Sscanf(note, "[%d bytes", &dropped)
					return ""
				})
				for i := range lines {
					all += len(line(i))
				}
				if len(kept)+dropped != all {
					t.Errorf("%d bytes were kept and %d not, of %d", len(kept), dropped, all)
				}
				text, kept, got = "", "", nil
				if kept := heap() - before; kept > 2*megabyte {
					t.Errorf("after Discard, %d KB are kept", kept>>10)
				}
			})
		}
	}
}

// contract 28, fault 8: other reports are bounded, too.
func TestMuchIsReported(t *testing.T) {
	big := strings.Repeat("x", 10_000)
	for name, report := range map[string]func(p *solver.Progress, i int){
		"statuses": func(p *solver.Progress, i int) {
			p.Status(client.VertexStatus{ID: fmt.Sprint(i), Name: strings.Clone(big)})
		},
		"warnings": func(p *solver.Progress, i int) {
			p.Warn(client.VertexWarning{Short: []byte(fmt.Sprint(i)), Detail: [][]byte{[]byte(big)}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(w *world) {
				s := w.solver()
				before := heap()
				j := w.job(s)
				n := w.node("n")
				n.OnExec = func(ctx context.Context, _ []solver.Result) error {
					for i := range 10_000 {
						report(solver.ProgressFrom(ctx), i)
					}
					return nil
				}
				w.buildIn(j, n.Edge(0))
				if kept := heap() - before; kept > 16*megabyte {
					t.Errorf("%d MB are kept", kept/megabyte)
				}
				late := w.watch(j)
				j.Discard()
				<-late.done
				if name == "warnings" && (string(late.warnings[0].Short) != "0" || string(late.warnings[len(late.warnings)-1].Short) != "9999") {
					t.Errorf("the warnings are from %s to %s", late.warnings[0].Short, late.warnings[len(late.warnings)-1].Short)
				}
			})
		})
	}
}

// contract 3, fault 8: what an op goes on to report after its last job has gone is not
// kept.
func TestReportsAfterDiscard(t *testing.T) {
	w := newWorld(t)
	s := w.solver()
	var p *solver.Progress
	n := w.node("n")
	n.OnExec = func(ctx context.Context, _ []solver.Result) error {
		p = solver.ProgressFrom(ctx)
		return nil
	}
	w.build(s, n.Edge(0))
	before := heap()
	for range 5000 {
		p.Log(1, make([]byte, 10_000))
	}
	if kept := heap() - before; kept > 2*megabyte {
		t.Errorf("%d KB are kept", kept>>10)
	}
	runtime.KeepAlive(p)
}
