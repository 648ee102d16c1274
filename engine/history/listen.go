package history

import (
	"context"
	"slices"

	controlapi "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// listener is told what happens. What it has not been told yet waits, and delays nobody.
type listener struct {
	events []*controlapi.BuildHistoryEvent // guarded by Store.mu
	late   bool                            // likewise: too many waited
	signal chan struct{}                   // holds one if there are more
}

// maxWaiting is how many events wait for a listener.
const maxWaiting = 4096

var errLate = status.Errorf(codes.ResourceExhausted, "%d events of the history wait to be read: begin again", maxWaiting)

// tell tells all listeners. The caller has mu.
func (s *Store) tell(what controlapi.BuildHistoryEventType, rec *controlapi.BuildHistoryRecord) {
	for l := range s.listeners {
		if len(l.events) == maxWaiting {
			l.late, l.events = true, nil
		}
		if !l.late {
			l.events = append(l.events, &controlapi.BuildHistoryEvent{Type: what, Record: rec})
		}
		select {
		case l.signal <- struct{}{}:
		default:
		}
	}
}

// Listen sends the records that there are, first of builds under way, and, unless
// req.EarlyExit, what happens from then on until ctx ends.
func (s *Store) Listen(ctx context.Context, req *controlapi.BuildHistoryRequest, send func(*controlapi.BuildHistoryEvent) error) error {
	match, err := parseFilters(req.Filter)
	if err != nil {
		return err
	}
	l := &listener{signal: make(chan struct{}, 1)}
	events := s.listen(l, req, match)
	defer s.leave(l)
	for {
		for _, e := range events {
			if err := send(e); err != nil {
				return err
			}
		}
		if req.EarlyExit {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.signal:
		}
		s.mu.Lock()
		late := l.late
		events, l.events = l.events, nil
		s.mu.Unlock()
		if late {
			return errLate
		}
		events = slices.DeleteFunc(events, func(e *controlapi.BuildHistoryEvent) bool {
			return req.Ref != "" && e.Record.Ref != req.Ref
		})
	}
}

// listen adds a listener, and returns what there is when it begins.
func (s *Store) listen(l *listener, req *controlapi.BuildHistoryRequest, match matcher) (all []*controlapi.BuildHistoryEvent) {
	wanted := func(ref string) bool { return req.Ref == "" || req.Ref == ref }
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners[l] = true
	for _, rec := range s.active {
		if wanted(rec.Ref) {
			all = append(all, &controlapi.BuildHistoryEvent{Type: controlapi.BuildHistoryEventType_STARTED, Record: rec})
		}
	}
	if req.ActiveOnly {
		return all
	}
	var ended []*controlapi.BuildHistoryEvent
	for _, rec := range s.ended {
		if wanted(rec.Ref) && match(rec) {
			ended = append(ended, &controlapi.BuildHistoryEvent{Type: controlapi.BuildHistoryEventType_COMPLETE, Record: rec})
		}
	}
	slices.SortFunc(ended, func(a, b *controlapi.BuildHistoryEvent) int {
		return b.Record.CreatedAt.AsTime().Compare(a.Record.CreatedAt.AsTime())
	})
	if req.Limit > 0 && len(ended) > int(req.Limit) {
		ended = ended[:req.Limit]
	}
	return append(all, ended...)
}

func (s *Store) leave(l *listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}
