package store

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// ErrLost is wrapped by errors of trees whose layers can be had no more from a place that
// nobody has to rely on: a cache. Who made the tree can make it again.
var ErrLost = errors.New("a cache has lost a layer")

// Expendable is a content.Provider of FromLayers that may fail: what is made of its layers
// can be made without them.
type Expendable interface {
	content.Provider
	// Lose says that a layer could not be had, or is not what it is said to be.
	Lose(ctx context.Context, dgst digest.Digest, why error)
	// Gone reports whether a layer cannot be had.
	Gone(dgst digest.Digest) bool
}

// provider is where a blob of a record can be had; nil if that is not known. The index's
// lock is held.
func (r *record) provider(dgst digest.Digest) content.Provider {
	p := r.providers[dgst]
	if e, ok := p.(Expendable); ok && e.Gone(dgst) {
		return nil
	}
	return p
}

// provide notes where a blob can be had. What is to be relied on stays. The index's lock is
// held.
func (r *record) provide(dgst digest.Digest, p content.Provider) {
	if _, expendable := p.(Expendable); expendable {
		if old := r.provider(dgst); old != nil {
			if _, too := old.(Expendable); !too {
				return
			}
		}
	}
	r.providers[dgst] = p
}

// lost notes that a blob could not be had, if it is from a place that nobody relies on, and
// marks the error.
func (s *Store) lost(ctx context.Context, rec *record, dgst digest.Digest, err error) error {
	s.index.mu.Lock()
	e, ok := rec.providers[dgst].(Expendable)
	s.index.mu.Unlock()
	if !ok || err == nil || ctx.Err() != nil || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return err
	}
	e.Lose(ctx, dgst, err)
	return fmt.Errorf("%w: %w", ErrLost, err)
}

// There returns an error, solver.ErrNotFound, if the tree cannot be had any more.
func (r *Ref) There(ctx context.Context) error {
	rec, err := r.use()
	if err != nil || rec == nil {
		return err
	}
	return r.s.reachable(ctx, rec)
}

// LostInput is the error of an op with inputs: if one of them is a tree that was lost, it says
// so to the solver, which has it made again.
func LostInput(ctx context.Context, inputs []solver.Result, err error) error {
	var known *solver.LostInputError
	if !errors.Is(err, ErrLost) || errors.As(err, &known) {
		return err
	}
	for i, in := range inputs {
		if ref, rerr := RefOf(in); rerr == nil && errors.Is(ref.There(ctx), solver.ErrNotFound) {
			return &solver.LostInputError{Input: solver.Index(i), Err: err}
		}
	}
	return err
}
