// Package failed keeps what steps that failed have left, for builds whose callers may
// want to look at it.
package failed

import (
	"context"
	"errors"
	"sync"

	"github.com/tenonbuild/tenon/engine/store"
)

// Key is under what a job keeps a *Steps (Job.SetValue).
const Key = "tenon.failed"

// Jobs returns the Steps of the jobs that an op works for, by the context of its run.
type Jobs func(ctx context.Context) []*Steps

// maxSteps is of how many steps a build keeps what they left.
const maxSteps = 32

// Steps are those of one build that failed.
type Steps struct {
	mu       sync.Mutex // guards what follows
	left     map[*Error]*Left
	released bool
}

// Left is what a step was given and has left: trees, nil for the empty one and for what
// is no tree.
type Left struct {
	// Inputs and Outputs are, for a step that runs a program, those of each of its mounts;
	// for one of file actions, its inputs, and the tree that each action worked on. For one
	// whose input could not be digested, there is that and no output.
	Inputs, Outputs []*store.Ref
	// Action is which of the file actions failed, or which input could not be digested.
	Action int
}

// Error is that of a step whose trees are kept. Its text is the error's that it wraps.
type Error struct{ error }

// Unwrap returns the error of the step.
func (e *Error) Unwrap() error { return e.error }

// Keep has some builds keep what a step left that failed with err, which is borrowed, and
// returns the error by which they find it.
func Keep(builds []*Steps, err error, left *Left) error {
	e := &Error{err}
	for _, s := range builds {
		s.keep(e, left)
	}
	return e
}

func (s *Steps) keep(e *Error, left *Left) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.released || len(s.left) == maxSteps {
		return
	}
	if s.left == nil {
		s.left = map[*Error]*Left{}
	}
	s.left[e] = &Left{Inputs: clones(left.Inputs), Outputs: clones(left.Outputs), Action: left.Action}
}

func clones(refs []*store.Ref) []*store.Ref {
	out := make([]*store.Ref, len(refs))
	for i, r := range refs {
		if r != nil {
			out[i] = r.Clone()
		}
	}
	return out
}

// Of returns what the step has left that an error is of; nil if that is not kept. It is
// borrowed until Release.
func (s *Steps) Of(err error) *Left {
	var e *Error
	if !errors.As(err, &e) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left[e]
}

// Release gives up all that is kept. What comes later is not kept.
func (s *Steps) Release(ctx context.Context) error {
	s.mu.Lock()
	left := s.left
	s.left, s.released = nil, true
	s.mu.Unlock()
	var errs []error
	for _, l := range left {
		errs = append(errs, l.Release(ctx))
	}
	return errors.Join(errs...)
}

// Release gives up the trees.
func (l *Left) Release(ctx context.Context) error {
	var errs []error
	for _, refs := range [][]*store.Ref{l.Inputs, l.Outputs} {
		for _, r := range refs {
			if r != nil {
				errs = append(errs, r.Release(context.WithoutCancel(ctx)))
			}
		}
	}
	return errors.Join(errs...)
}
