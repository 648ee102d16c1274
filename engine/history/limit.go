package history

import (
	"errors"
	"slices"
	"strings"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// pinned counts the records that are pinned. The caller has mu.
func (s *Store) pinned() (number, bytes int) {
	for ref, rec := range s.ended {
		if rec.Pinned {
			number++
			bytes += s.sizes[ref]
		}
	}
	return number, bytes
}

// mayPin refuses to pin a record where that would leave too little for others. The caller has
// mu.
func (s *Store) mayPin(ref string) error {
	number, bytes := s.pinned()
	if number+1 > s.limits.Most/2 || bytes+s.sizes[ref] > s.limits.Bytes/2 {
		return status.Errorf(codes.ResourceExhausted, "%d records are pinned, with %d bytes, and no more can be: unpin or remove some", number, bytes)
	}
	return nil
}

// limit removes what is too much. The caller has mu.
func (s *Store) limit(now time.Time) error {
	number, bytes := s.pinned()
	var all []*controlapi.BuildHistoryRecord
	sum := bytes
	for ref, rec := range s.ended {
		if !rec.Pinned {
			all = append(all, rec)
			sum += s.sizes[ref]
		}
	}
	if len(all) <= s.limits.Entries && number+len(all) <= s.limits.Most && sum <= s.limits.Bytes {
		return nil
	}
	slices.SortFunc(all, func(a, b *controlapi.BuildHistoryRecord) int {
		if c := b.CompletedAt.AsTime().Compare(a.CompletedAt.AsTime()); c != 0 {
			return c
		}
		return strings.Compare(a.Ref, b.Ref)
	})
	var errs []error
	for i, rec := range all {
		number++
		bytes += s.sizes[rec.Ref]
		old := i >= s.limits.Entries && now.Sub(rec.CompletedAt.AsTime()) > s.limits.Age
		if tooMuch := number > s.limits.Most || bytes > s.limits.Bytes; old || i > 0 && tooMuch {
			errs = append(errs, s.remove(rec.Ref))
		}
	}
	return errors.Join(errs...)
}
