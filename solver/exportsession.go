package solver

import (
	"context"
	"reflect"
	"sync"
	"time"
	"weak"

	"github.com/opencontainers/go-digest"
)

// exportSession is what has been exported to one target: several keys of a
// result, and several results, have chains in common, of which each record is
// added once and each result made transferable once.
type exportSession struct {
	target CacheExporterTarget
	// turn holds one token while an export to the target is under way. It guards
	// what follows.
	turn chan struct{}
	// nodes are the keys met so far, by ID.
	nodes map[string]*exportNode
	// remotes are the results asked for so far.
	remotes map[storedResult]*exportedResult
	// converted are the results that Convert was called for, by the ID of the
	// Result: several caches may hold one.
	converted map[string]*Remote
	// walk numbers the exports.
	walk int
}

// storedResult names a result in one cache.
type storedResult struct{ manager, id string }

// exportedResult is what is known of a stored result.
type exportedResult struct {
	remote *Remote
	// converted says that Convert had its chance.
	converted bool
	// gone says that the cache does not have it any more.
	gone bool
}

// exportNode is a key of the chain. What the target was told stays; the rest is
// of one walk.
type exportNode struct {
	id string
	// rec is the target's record for it; links and added are what it was told.
	rec   CacheExporterRecord
	told  []exportLink
	added *Remote

	// walk is the walk that the following is of.
	walk int
	// key is the first of the keys of this ID that the walk met; nil if only a
	// cache knows it.
	key *CacheKey
	// digest and output are the operation's; empty until something tells them.
	digest digest.Digest
	output Index
	// inputs is how many the operation has, as far as anything tells.
	inputs int
	// lost: nobody can find it. See leaveOut.
	lost bool
	// links are the alternatives for the inputs: in the end sorted, each once.
	links []exportLink
	// export is the strictest that any of the keys says.
	export *bool
	// asked says that the node's result has been decided.
	asked     bool
	remote    *Remote
	createdAt time.Time
}

// exportLink says that a node's input can be src, seen through selector.
type exportLink struct {
	src      *exportNode
	input    Index
	selector digest.Digest
}

// exportSessions finds the session of a target. A session lives as long as its
// target, which holds it among what it was told to Visit; here are only weak
// pointers, so nothing has to be closed.
var exportSessions sessionRegistry

type sessionRegistry struct {
	// mu guards list.
	mu   sync.Mutex
	list []weak.Pointer[exportSession]
}

// of returns the session of a target. A target that is not a pointer, or does not
// keep what it visits, gets a new one each time.
func (r *sessionRegistry) of(t CacheExporterTarget) *exportSession {
	s := &exportSession{
		target:    t,
		turn:      make(chan struct{}, 1),
		nodes:     map[string]*exportNode{},
		remotes:   map[storedResult]*exportedResult{},
		converted: map[string]*Remote{},
	}
	if reflect.TypeOf(t).Kind() != reflect.Pointer {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	live := r.list[:0]
	var found *exportSession
	for _, p := range r.list {
		old := p.Value()
		if old == nil {
			continue
		}
		live = append(live, p)
		if old.target == t {
			found = old
		}
	}
	clear(r.list[len(live):])
	r.list = live
	if found != nil {
		return found
	}
	if t.Visit(s); t.Visited(s) {
		r.list = append(r.list, weak.Make(s))
	}
	return s
}

// begin waits until no other export to the target is under way.
func (s *exportSession) begin(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case s.turn <- struct{}{}:
		s.walk++
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *exportSession) end() { <-s.turn }
