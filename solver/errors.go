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
