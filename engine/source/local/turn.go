package local

import (
	"context"
	"fmt"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// turn is what those who scan one directory take: the second then finds remembered
// what the first has hashed.
type turn struct {
	token chan struct{}
	users int // guarded by Source.mu
}

// enter waits until nobody scans a directory. Whoever enters has to leave. Where
// nothing is remembered ("") nobody waits.
func (s *Source) enter(ctx context.Context, dir string) (leave func(), err error) {
	if dir == "" {
		return func() {}, nil
	}
	s.mu.Lock()
	t := s.turns[dir]
	if t == nil {
		t = &turn{token: make(chan struct{}, 1)}
		t.token <- struct{}{}
		s.turns[dir] = t
	}
	t.users++
	s.mu.Unlock()

	forget := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(s.turns, dir)
		}
	}
	select {
	case <-t.token:
		return func() { t.token <- struct{}{}; forget() }, nil
	case <-ctx.Done():
		forget()
		return nil, fmt.Errorf("waiting for another build to read it: %w", context.Cause(ctx))
	}
}

// warn tells the user of what went wrong without harm to the build.
func warn(ctx context.Context, err error) {
	solver.ProgressFrom(ctx).Warn(client.VertexWarning{Level: 1, Short: []byte(err.Error())})
}
