package view

import "github.com/opencontainers/go-digest"

const (
	maxLog  = 32 << 10 // of a step, at first
	maxLogs = 8 << 20  // of all steps
)

// Logs are the ends of what steps have written. The zero value is ready for use.
type Logs struct {
	each  int // how much of each is kept; 0 is maxLog
	total int
	of    map[digest.Digest]*tail
}

// tail is the end of a log.
type tail struct {
	dt  []byte
	cut bool
}

// Add adds to the log of a step. Where all of them are too long, less of each is kept.
func (l *Logs) Add(step digest.Digest, dt []byte) {
	if len(dt) == 0 {
		return
	}
	if l.of == nil {
		l.of, l.each = map[digest.Digest]*tail{}, maxLog
	}
	t := l.of[step]
	if t == nil {
		t = &tail{}
		l.of[step] = t
	}
	if over := len(dt) - l.each; over > 0 {
		dt, t.cut = dt[over:], true
	}
	l.total += len(dt)
	t.dt = append(t.dt, dt...)
	if len(t.dt) > 2*l.each {
		l.total -= t.keep(l.each)
	}
	for l.total > 2*maxLogs {
		l.each /= 2
		for _, t := range l.of {
			l.total -= t.keep(l.each)
		}
	}
}

// keep keeps the last bytes, and returns how many it has removed.
func (t *tail) keep(n int) int {
	over := len(t.dt) - n
	if over <= 0 {
		return 0
	}
	t.dt, t.cut = append([]byte(nil), t.dt[over:]...), true
	return over
}

// text is the end of what a step has written, and whether there was more.
func (l *Logs) text(step digest.Digest) (text string, cut bool) {
	if l == nil || l.of[step] == nil {
		return "", false
	}
	t := l.of[step]
	t.keep(l.each)
	return string(t.dt), t.cut
}
