package solver

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
)

// CacheKeyStorage persists the graph of cache keys: nodes by ID, links from the
// key of an input to the keys of the operations that used it, and the results
// stored under a key. A node exists while it has a result or a link to or from
// another node. It knows nothing of the results themselves.
//
// The ID of a node is any string but the empty one. A single look-up does not
// get slower with the number of links or results that a node has.
//
// Methods may be called concurrently. Callbacks may call back into the storage;
// what they change may or may not be seen by the walk under way, which visits
// nothing twice. A callback's error ends the walk and is returned as it is.
//
// Package solvertest has the suite that proves an implementation.
type CacheKeyStorage interface {
	// Exists reports whether a node exists.
	Exists(id string) bool
	// Walk visits every node once, in no particular order.
	Walk(fn func(id string) error) error

	// WalkResults visits the results of a node. Of an unknown node there are none.
	WalkResults(id string, fn func(CacheResult) error) error
	// Load returns one result of a node; ErrNotFound if there is no such.
	Load(id string, resultID string) (CacheResult, error)
	// AddResult stores a result under a node, and makes the node. A result of
	// the same ID is replaced. CreatedAt is kept as an instant: its zone may be lost.
	AddResult(id string, res CacheResult) error
	// Release removes a result from every node, and every node and link that
	// then leads to no result: a node that has no results left and no outgoing
	// links goes with the links to it, and so on. Only nodes that lose something
	// go: one that was never more than the target of a link stays. Nodes that lead
	// to nothing but each other, in a cycle, may go or stay. It is not an error if
	// there is no such result. It is linear in what is removed.
	Release(resultID string) error
	// WalkIDsByResult visits the nodes that hold a result.
	WalkIDsByResult(resultID string, fn func(string) error) error

	// AddLink links node id to node target, and makes both. It may be repeated.
	AddLink(id string, link CacheInfoLink, target string) error
	// WalkLinks visits the targets of a node's links that equal link.
	WalkLinks(id string, link CacheInfoLink, fn func(id string) error) error
	// HasLink reports whether the link exists.
	HasLink(id string, link CacheInfoLink, target string) bool
	// WalkBacklinks visits the links that lead to a node, with the nodes they
	// come from. It is the inverse of WalkLinks.
	WalkBacklinks(id string, fn func(id string, link CacheInfoLink) error) error
}

// CacheInfoLink is a link between two cache keys: the operation Digest, whose
// input Input is the key linked from, seen through Selector, has at its output
// Output the key linked to.
type CacheInfoLink struct {
	Input    Index         `json:"Input,omitempty"`
	Output   Index         `json:"Output,omitempty"`
	Digest   digest.Digest `json:"Digest,omitempty"`
	Selector digest.Digest `json:"Selector,omitempty"`
}

// CacheResult names a stored result.
type CacheResult struct {
	CreatedAt time.Time
	ID        string
}

// CacheResultStorage turns results into names that a CacheKeyStorage can keep,
// and back.
type CacheResultStorage interface {
	// Save stores a result, which is borrowed for the call: a storage that keeps
	// it makes a hold of its own.
	Save(Result) (CacheResult, error)
	// Load returns a result, which becomes the caller's; ErrNotFound if it is gone.
	Load(ctx context.Context, res CacheResult) (Result, error)
	// LoadRemote returns a result in transferable form; nil if it has none as it is.
	LoadRemote(ctx context.Context, res CacheResult) (*Remote, error)
	// Exists reports whether Load can be expected to succeed.
	Exists(id string) bool
}

// MemoryAnswerer is implemented by a CacheKeyStorage whose look-ups answer from
// memory. The solver asks a manager that NewCacheManager made of such a storage in
// line. Others are asked by a goroutine.
type MemoryAnswerer interface {
	// AnswersFromMemory is asked once.
	AnswersFromMemory() bool
}
