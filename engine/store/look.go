package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrNotHere says of a tree that is only looked at that it is not on this machine.
var ErrNotHere = errors.New("the tree is not here, and is only looked at")

// Look returns a handle of a record to look at, which is the caller's. To have it is no use of
// the record, nothing that is found out of the tree is kept, and nothing is fetched or
// unpacked: where that would be needed the error is ErrNotHere. Otherwise it is as Get.
func (s *Store) Look(ctx context.Context, id string) (*Ref, error) {
	return s.handle(ctx, id, s.lookAt)
}

// Imagine returns a handle of a tree that is not there, under an ID of its own: what is kept
// with it can be looked at. The handle is the caller's.
func (s *Store) Imagine(id string) *Ref {
	return s.imagine(&record{id: id, facts: facts{Kind: kindCommitted}})
}

// ImagineLayers returns a handle of the tree that FromLayers would make, to look at, whether it
// is there or not. The handle is the caller's.
func (s *Store) ImagineLayers(ctx context.Context, layers []ocispec.Descriptor) (*Ref, error) {
	if len(layers) == 0 {
		return nil, nil
	}
	diffIDs, err := diffIDsOf(layers)
	if err != nil {
		return nil, err
	}
	id := identity.ChainID(diffIDs).Encoded()
	if ref, err := s.Look(ctx, id); err == nil {
		return ref, nil
	}
	return s.imagine(&record{id: id, facts: facts{Kind: kindLayer}}), nil
}

func (s *Store) imagine(rec *record) *Ref {
	rec.imagined = map[string][]byte{}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	return s.lookAt(rec)
}

// lookAt takes a hold of a record to look at. The caller has the index's lock.
func (s *Store) lookAt(rec *record) *Ref {
	s.index.pin(rec)
	return &Ref{s: s, rec: rec, looks: true}
}

// here returns ErrNotHere of a tree that would have to be fetched or unpacked, if it is only
// looked at.
func (r *Ref) here() error {
	if !r.looks {
		return nil
	}
	r.s.index.mu.Lock()
	defer r.s.index.mu.Unlock()
	if r.rec.facts.Snapshot == "" {
		return fmt.Errorf("tree %s: %w", r.rec.id, ErrNotHere)
	}
	return nil
}

// Here says whether the tree can be read, if it is only looked at.
func (r *Ref) Here() bool { return r == nil || r.here() == nil }

// setImagined is SetValue of a handle to look at.
func (r *Ref) setImagined(key string, dt []byte) error {
	if r.rec.imagined == nil {
		return fmt.Errorf("tree %s is only looked at", r.rec.id)
	}
	r.s.index.mu.Lock()
	defer r.s.index.mu.Unlock()
	r.rec.imagined[key] = dt
	return nil
}
