package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"time"
)

// Ask asks the sessions of the builds that ctx works for, and returns the first value that
// one of them gives. A client may have stopped to answer, and its connection be there all the
// same. So the first session is asked alone, and the next one, too, when that has failed, is
// gone, or was silent for some seconds; and so on, also with those of builds that join
// meanwhile. Once a session was silent, the next one is asked together with it, until it
// answers again.
//
// A value goes before an error, whoever is asked first: that one client does not have
// something is no answer where another may. If all fail, the error is that of who was asked
// first and has not gone. Sessions that are silent for long, while another has failed, count
// as failed. Where all are silent Ask waits, until ctx ends.
//
// Fn is called once for each session, for several at the same time. Its context ends when
// another session has answered, when the builds of the session have left, and when Ask
// returns; but for a value that is an io.Closer it lasts as long as ctx. Ask does not wait
// for calls that go on after that: what they return is closed if it is an io.Closer. So fn
// writes to nothing that Ask's caller reads.
func Ask[T any](ctx context.Context, all *Sessions, fn func(context.Context, Session) (T, error)) (T, error) {
	return AskFrom(ctx, all, "", fn)
}

// AskFrom is Ask that begins with the session of an ID, if it is alive, which need not be of
// a build that ctx works for.
func AskFrom[T any](ctx context.Context, all *Sessions, id string, fn func(context.Context, Session) (T, error)) (T, error) {
	a := &asking[T]{
		all: all, first: id, fn: fn, patience: all.patience(),
		answers: make(chan answer[T]), done: make(chan struct{}),
	}
	return a.run(ctx)
}

// defaultPatience is how long a session is waited for until others are asked, too.
const defaultPatience = 3 * time.Second

// graces is how often the patience is had with sessions that are silent while another has
// failed: who looks for something may have to ask a person.
const graces = 10

// asking is one call of Ask. One goroutine has it.
type asking[T any] struct {
	all      *Sessions
	first    string
	fn       func(context.Context, Session) (T, error)
	patience time.Duration

	answers chan answer[T]
	done    chan struct{} // closed when nobody takes answers any more
	asked   []*question
	moved   time.Time // when somebody was asked, or failed, last
}

// question is what one session was asked.
type question struct {
	of      Session
	since   time.Time
	cancel  context.CancelCauseFunc
	waiting bool
	err     error // the answer; nil for none
}

type answer[T any] struct {
	to    *question
	value T
	err   error
}

// discard closes a value that nobody has seen.
func (x answer[T]) discard() {
	if c, ok := any(x.value).(io.Closer); ok && x.err == nil {
		_ = c.Close()
	}
}

var errAnswered = errors.New("another session has answered")

func (a *asking[T]) run(ctx context.Context) (value T, err error) {
	defer close(a.done)
	var winner *question
	defer func() {
		for _, q := range a.asked {
			if q != winner {
				q.cancel(errAnswered)
			}
		}
	}()
	timer := time.NewTimer(a.patience)
	defer timer.Stop()
	a.next(ctx)
	for !a.over() {
		select {
		case x := <-a.answers:
			if a.taken(x) {
				if _, lasts := any(x.value).(io.Closer); lasts {
					winner = x.to
				}
				return x.value, nil
			}
			a.next(ctx)
		case <-timer.C:
			a.late(ctx)
			a.next(ctx)
		case <-ctx.Done():
			return value, context.Cause(ctx)
		}
		timer.Reset(a.patience)
	}
	if ctx.Err() != nil {
		return value, context.Cause(ctx)
	}
	return value, a.failure(ctx)
}

// next asks the next session, and more if those were silent before.
func (a *asking[T]) next(ctx context.Context) {
	for _, s := range a.all.of(ctx, a.first) {
		if slices.ContainsFunc(a.asked, func(q *question) bool { return q.of == s }) {
			continue
		}
		a.moved = time.Now()
		q := &question{of: s, since: a.moved, waiting: true}
		var inner context.Context
		inner, q.cancel = context.WithCancelCause(ctx)
		a.asked = append(a.asked, q)
		go a.ask(inner, q) // it may never return
		if a.all.silence(s) == heard {
			return
		}
	}
}

func (a *asking[T]) ask(ctx context.Context, q *question) {
	x := answer[T]{to: q, err: errors.New("it ended its goroutine")}
	defer func() {
		if r := recover(); r != nil {
			x.err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
		select {
		case a.answers <- x:
		case <-a.done:
			x.discard()
		}
	}()
	x.value, x.err = a.fn(ctx, q.of)
}

// taken says whether an answer is the value that is returned. One whose builds have left
// gives none, and a session that is gone has not failed.
func (a *asking[T]) taken(x answer[T]) bool {
	q := x.to
	if !q.waiting {
		x.discard()
		return false
	}
	q.waiting, a.moved = false, time.Now()
	if x.err == nil || a.all.has(q.of) {
		a.all.note(q.of, heard)
		q.err = x.err
	}
	return x.err == nil
}

// late looks at who is still waited for: those whose builds have left are not, and others
// are known to be silent.
func (a *asking[T]) late(ctx context.Context) {
	alive := a.all.of(ctx, a.first)
	for _, q := range a.asked {
		switch {
		case !q.waiting:
		case len(alive) > 0 && !slices.Contains(alive, q.of):
			q.waiting = false
			q.cancel(errors.New("the builds of the session have ended"))
		case time.Since(q.since) >= a.patience:
			a.all.note(q.of, max(late, a.all.silence(q.of)))
		}
	}
}

// over says whether there is nobody more to wait for.
func (a *asking[T]) over() bool {
	patience, failed, waiting := a.patience, false, false
	for _, q := range a.asked {
		failed = failed || q.err != nil
		waiting = waiting || q.waiting
		if q.waiting && a.all.silence(q.of) < silent {
			patience = graces * a.patience
		}
	}
	if !waiting || !failed || time.Since(a.moved) < patience {
		return !waiting
	}
	for _, q := range a.asked {
		if q.waiting {
			a.all.note(q.of, silent)
		}
	}
	return true
}

// failure is the error where no session has given a value.
func (a *asking[T]) failure(ctx context.Context) error {
	for _, q := range a.asked {
		if q.err != nil {
			return q.err
		}
	}
	if _, err := a.all.Of(ctx); err != nil {
		return err
	}
	return fmt.Errorf("the session went away while it was asked: %w", ErrNotFound)
}

// What is known of how a session answers.
const (
	heard  = iota
	late   // others are asked together with it
	silent // where others have failed, it is not waited for as long as others
)

// silence is what is known of a session.
func (s *Sessions) silence(x Session) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.byID[x.ID()]; m != nil {
		return m.silence
	}
	return heard
}

func (s *Sessions) note(x Session, silence int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.byID[x.ID()]; m != nil && m.Session == x {
		m.silence = silence
	}
}
