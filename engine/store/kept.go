package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
)

// Kept is what a component keeps below its Path for later builds, in parts that Du
// lists and Prune may remove: repositories that were fetched from, say. What is kept
// can be made or fetched again. Its methods may be called concurrently, and while the
// component works.
type Kept interface {
	// List returns the parts. The ID of each tells it from the component's others and
	// stays the same; Type, Description, Size, InUse, Mutable, CreatedAt and LastUsedAt
	// are what they are of a record. What is not there any more is left out.
	List(ctx context.Context) ([]UsageInfo, error)
	// Remove removes a part and says whether it did: one that is in use stays, and one
	// that has gone meanwhile is not removed. It does not wait for those who use it.
	Remove(ctx context.Context, id string) (removed bool, err error)
}

// keptParts are the components by name.
type keptParts struct {
	mu   sync.Mutex // guards what is below
	list map[string]Kept
}

// Register makes Du list, and Prune remove, what a component keeps. A part's ID
// becomes NAME-ID. A later component of the same name takes the place of the earlier.
func (s *Store) Register(name string, k Kept) {
	s.kept.mu.Lock()
	defer s.kept.mu.Unlock()
	if s.kept.list == nil {
		s.kept.list = map[string]Kept{}
	}
	s.kept.list[name] = k
}

// part is a part of a component: Kept calls it id.
type part struct {
	of Kept
	id string
}

// usageOfKept returns what all components keep.
func (s *Store) usageOfKept(ctx context.Context) ([]*usedRecord, error) {
	s.kept.mu.Lock()
	list := maps.Clone(s.kept.list)
	s.kept.mu.Unlock()
	var all []*usedRecord
	for _, name := range slices.Sorted(maps.Keys(list)) {
		parts, err := list[name].List(ctx)
		if err != nil {
			return nil, fmt.Errorf("what %s keeps: %w", name, err)
		}
		for _, u := range parts {
			p := &part{of: list[name], id: u.ID}
			u.ID = name + "-" + u.ID
			all = append(all, &usedRecord{UsageInfo: u, part: p, own: u.Size})
		}
	}
	return all, nil
}

// removeOthers removes what was chosen and is no record: parts of components, untagged
// images. It returns those that it has removed, also with an error.
func (s *Store) removeOthers(ctx context.Context, chosen []*usedRecord) ([]*usedRecord, error) {
	var gone []*usedRecord
	var errs []error
	for _, u := range chosen {
		if u.rec != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return gone, errors.Join(append(errs, err)...)
		}
		removed, err := s.removeOther(ctx, u)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s (%s) cannot be removed: %w", u.ID, u.Description, err))
		}
		if removed {
			gone = append(gone, u)
		}
	}
	return gone, errors.Join(errs...)
}

func (s *Store) removeOther(ctx context.Context, u *usedRecord) (removed bool, err error) {
	if u.part != nil {
		return u.part.of.Remove(ctx, u.part.id)
	}
	err = s.back.images.Delete(ctx, u.image)
	if errdefs.IsNotFound(err) {
		return false, nil // it has a name by now
	}
	return err == nil, err
}
