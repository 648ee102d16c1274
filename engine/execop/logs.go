package execop

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/solver"
)

// LogLimits bound what is shown of the output of one process, for each of its two
// streams. 0 stands for the default, which is BuildKit's; a negative number for no
// limit.
type LogLimits struct {
	Size int // bytes; 2 MiB
	Rate int // bytes a second, on average since the start; 200 KiB
}

const (
	defaultLogSize = 2 << 20
	defaultLogRate = 200 << 10
	clippedSize    = 256 << 10 // how much of what was not shown is kept, for a failure
	tailSize       = 8 << 10
)

func (l LogLimits) withDefaults() LogLimits {
	if l.Size == 0 {
		l.Size = defaultLogSize
	}
	if l.Rate == 0 {
		l.Rate = defaultLogRate
	}
	return l
}

// logs are the two streams of a process.
type logs struct {
	stdout, stderr *stream
	tail           *tail
}

func newLogs(p *solver.Progress, limits LogLimits) *logs {
	l := &logs{tail: &tail{max: tailSize}}
	limits = limits.withDefaults()
	show := func(n int) func([]byte) { return func(dt []byte) { p.Log(n, dt) } }
	l.stdout = &stream{show: show(1), limits: limits, tail: l.tail, begun: time.Now()}
	l.stderr = &stream{show: show(2), limits: limits, tail: l.tail, begun: time.Now()}
	return l
}

// failed shows the end of what had been clipped.
func (l *logs) failed() {
	l.stdout.showClipped()
	l.stderr.showClipped()
}

// stream shows what is written to it, within limits. One goroutine writes.
type stream struct {
	show   func([]byte)
	limits LogLimits
	tail   *tail
	begun  time.Time

	shown    int
	clipping bool
	clipped  *tail // nil until something was clipped
}

// Write implements io.Writer. It never fails.
func (s *stream) Write(dt []byte) (int, error) {
	s.tail.write(dt)
	room, limit := s.room()
	n := len(dt)
	if room >= 0 {
		n = min(n, room)
	}
	s.shown += n
	if n > 0 {
		s.show(dt[:n])
	}
	switch rest := dt[n:]; {
	case len(rest) == 0:
		s.clipping = false
	default:
		if s.clipped == nil {
			s.clipped = &tail{max: clippedSize}
		}
		s.clipped.write(rest)
		if !s.clipping {
			s.show(fmt.Appendf(nil, "\n[output clipped, log limit %s reached]\n", limit))
			s.clipping = true
		}
	}
	return len(dt), nil
}

// Close implements io.Closer.
func (s *stream) Close() error { return nil }

// room is how much may be shown now, and which limit says so; -1 is no limit.
func (s *stream) room() (n int, limit string) {
	n = -1
	if s.limits.Size > 0 {
		n, limit = max(0, s.limits.Size-s.shown), fmt.Sprintf("%dKiB", s.limits.Size>>10)
	}
	if s.limits.Rate > 0 {
		seconds := int(time.Since(s.begun)/time.Second) + 1
		if r := max(0, seconds*s.limits.Rate-s.shown); n < 0 || r < n {
			n, limit = r, fmt.Sprintf("%dKiB/s", s.limits.Rate>>10)
		}
	}
	return n, limit
}

func (s *stream) showClipped() {
	if s.clipped != nil {
		s.show(s.clipped.bytes())
		s.clipped = nil
	}
}

// tail keeps the end of what is written.
type tail struct {
	max int
	mu  sync.Mutex // guards buf
	buf []byte
}

func (t *tail) write(dt []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, dt[max(0, len(dt)-t.max):]...)
	if len(t.buf) > 2*t.max { // seldom, so that a byte is moved once
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.max:]...)
	}
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.buf[max(0, len(t.buf)-t.max):])
}
