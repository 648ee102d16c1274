package solver

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// ErrNotFound is returned by a storage for what it does not have.
var ErrNotFound = errors.New("not found")

// VertexError is an error of one vertex: errors.As finds the vertex in an error
// of a build, errors.Is the cause.
type VertexError struct {
	Digest digest.Digest
	Name   string
	Err    error
}

func (e *VertexError) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("vertex %s: %v", e.Digest, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Name, e.Err)
}

func (e *VertexError) Unwrap() error { return e.Err }

// LostInputError is what Exec and Prepare of an op, or a ComputeDigestFunc, return where
// an input cannot be used because what its result stands for is gone: pruned, or lost
// with the place it was at. The solver then has the input's result made again, or loaded
// from another cache, if somebody still wants it, and makes the call again. Where
// the input is what an op has passed on (an input of its own, a result with the ID of one, or
// what it has built), the op that has made it runs again. An op runs again for what it has
// made three times; then the build fails with Err.
type LostInputError struct {
	// Input is the number of the input. A ComputeDigestFunc has only one.
	Input Index
	Err   error
}

func (e *LostInputError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("the result of input %d is lost", e.Input)
	}
	return fmt.Sprintf("the result of input %d is lost: %v", e.Input, e.Err)
}

func (e *LostInputError) Unwrap() error { return e.Err }
