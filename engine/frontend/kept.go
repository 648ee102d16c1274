package frontend

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
)

// kept is what a build's frontends have made, until the build ends.
type kept struct {
	mu         sync.Mutex // guards what follows
	refs       []*Reference
	resolved   []Resolved // images that were asked about
	containers map[*container]struct{}
	reserved   int // containers, those that are being made included
	released   bool
	warned     int // bytes of warnings
	defined    defined
}

// maxWarned is how many bytes of warnings of one build are shown.
const maxWarned = 64 << 20

// room is whether a warning is shown.
type room int

const (
	all     room = iota // it is
	none                // it is the first that is not
	already             // it is not, as others before
)

// roomFor counts a warning of so many bytes. Once one was too much, none is shown any more.
func (k *kept) roomFor(size int) room {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.warned > maxWarned:
		return already
	case size > maxWarned-k.warned:
		k.warned = maxWarned + 1
		return none
	}
	k.warned += size
	return all
}

func (k *kept) add(r *Reference) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refs = append(k.refs, r)
}

// reserve makes sure that there is room for a container, until forget.
func (k *kept) reserve() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reserved == maxContainers {
		return fmt.Errorf("the frontend has %d containers, and can have no more: release some", maxContainers)
	}
	k.reserved++
	return nil
}

// addContainer keeps a container. If the build has ended meanwhile it is released.
func (k *kept) addContainer(ctx context.Context, c *container) error {
	k.mu.Lock()
	late := k.released
	if !late {
		if k.containers == nil {
			k.containers = map[*container]struct{}{}
		}
		k.containers[c] = struct{}{}
	}
	k.mu.Unlock()
	if late {
		_, err := c.close(context.WithoutCancel(ctx))
		return errors.Join(errors.New("a container was made after its build had ended"), err)
	}
	return nil
}

// forget gives back what reserve took. C is nil for a container that was not made.
func (k *kept) forget(c *container) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.containers, c)
	k.reserved--
}

// vertexOf finds the vertex that an op of a definition has become; "" if it is not
// known.
func (k *kept) vertexOf(op digest.Digest) digest.Digest {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.refs {
		if v, ok := r.graph.Digests[op]; ok {
			return v
		}
	}
	return ""
}

// release releases all, containers first.
func (k *kept) release(ctx context.Context) error {
	k.mu.Lock()
	refs, containers := k.refs, k.containers
	k.refs, k.containers, k.released = nil, nil, true
	k.mu.Unlock()
	var errs []error
	for c := range containers {
		_, err := c.close(ctx)
		errs = append(errs, err)
	}
	for _, r := range refs {
		errs = append(errs, r.release(ctx))
	}
	return errors.Join(errs...)
}
