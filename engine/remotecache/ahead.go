package remotecache

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/store"
)

// Ahead brings layers to a destination while a build makes them, before it is known of which
// layers the cache will be: its owner says which trees to bring. A layer that no cache names
// in the end lies at the destination without a name, as one of a cache that was replaced does.
//
// It fails nothing: with its first error it stops. What it has not brought, Write brings.
type Ahead struct {
	to     Destination
	layers *store.LayersOnce
	slots  chan struct{} // one for each tree whose layers are made at a time, of all builds
	begin  func() (context.Context, func(error))

	trees  *mailbox[*store.Ref]
	packed *mailbox[layerFrom]
	work   errgroup.Group
	// held are the trees that were taken; for one goroutine, and after it for End.
	held []*store.Ref

	mu           sync.Mutex // guards what follows
	begun, ended bool
	there        map[digest.Digest]bool
	err          error
}

// layerFrom is a layer with what reads it.
type layerFrom struct {
	ocispec.Descriptor
	made bool // just now
	from content.Provider
}

// NewAhead makes one for layers in a form. Begin is called when there is something to be done;
// the function that it returns is called in the end. Slots bound how many make layers at a time.
func NewAhead(to Destination, layers *store.LayersOnce, slots chan struct{}, begin func() (context.Context, func(error))) *Ahead {
	return &Ahead{
		to: to, layers: layers, slots: slots, begin: begin,
		trees: newMailbox[*store.Ref](), packed: newMailbox[layerFrom](), there: map[digest.Digest]bool{},
	}
}

// Add has the layers of a tree be brought. It borrows the handle, and does not wait.
func (a *Ahead) Add(ref *store.Ref) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	a.trees.put(ref.Clone())
	if !a.begun {
		a.begun = true
		a.work.Go(a.run)
	}
}

// run is the work. It returns nil.
func (a *Ahead) run() error {
	ctx, end := a.begin()
	eg, egctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return a.pack(egctx) })
	eg.Go(func() error { return a.upload(egctx) })
	err := eg.Wait()
	a.mu.Lock()
	a.err, a.ended = err, true
	a.mu.Unlock()
	if ctx.Err() == nil {
		err = nil // Write says what is wrong, if it still is
	}
	end(err)
	return nil
}

// pack makes layers.
func (a *Ahead) pack(ctx context.Context) error {
	defer a.packed.close()
	for {
		refs, more := a.trees.take(ctx)
		a.held = append(a.held, refs...)
		if !more {
			return context.Cause(ctx)
		}
		for _, ref := range refs {
			if err := a.packOne(ctx, ref); err != nil {
				return err
			}
		}
	}
}

func (a *Ahead) packOne(ctx context.Context, ref *store.Ref) error {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	layers, from, err := a.layers.Of(ctx, ref)
	for _, l := range layers {
		a.packed.put(layerFrom{dated(l), l.Made, from})
	}
	return err
}

// upload brings layers, several at a time. What has been made while others were brought is
// asked about together.
func (a *Ahead) upload(ctx context.Context) error {
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(parallelOf(a.to))
	known := map[digest.Digest]bool{}
	for {
		all, more := a.packed.take(ctx)
		if !more {
			return eg.Wait()
		}
		lacks, err := a.lacking(ctx, slices.DeleteFunc(all, func(l layerFrom) bool {
			again := known[l.Digest]
			known[l.Digest] = true
			return again
		}))
		if err != nil {
			return errors.Join(err, eg.Wait())
		}
		for _, l := range lacks {
			eg.Go(func() error {
				err := put(ctx, l.Descriptor, l.from, a.to)
				if err == nil {
					a.note(l.Descriptor)
				}
				return err
			})
		}
	}
}

// lacking are those of some layers that are to be brought. It notes the others.
func (a *Ahead) lacking(ctx context.Context, all []layerFrom) (out []layerFrom, err error) {
	for _, made := range []bool{false, true} {
		var asked []ocispec.Descriptor
		for _, l := range all {
			if l.made == made {
				asked = append(asked, l.Descriptor)
			}
		}
		lacks, err := a.to.Lacks(ctx, asked, made)
		if err != nil {
			return nil, err
		}
		lack := map[digest.Digest]bool{}
		for _, desc := range lacks {
			lack[desc.Digest] = true
		}
		for _, l := range all {
			switch {
			case l.made != made:
			case lack[l.Digest]:
				out = append(out, l)
			default:
				a.note(l.Descriptor)
			}
		}
	}
	return out, nil
}

// note notes that a layer is there.
func (a *Ahead) note(desc ocispec.Descriptor) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.there[desc.Digest] = true
}

// has says whether a layer is at the destination. A nil Ahead knows of none.
func (a *Ahead) has(desc ocispec.Descriptor) bool {
	if a == nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.there[desc.Digest]
}

// End waits until all that was added has been brought, or until that has failed. What fails
// while End waits is returned: who would do it again would fail the same way, after as long.
// Further calls do nothing.
func (a *Ahead) End(ctx context.Context) error {
	a.mu.Lock()
	before := a.err
	a.ended = true
	a.mu.Unlock()
	a.trees.close()
	_ = a.work.Wait()
	rest, _ := a.trees.take(ctx)
	a.held = append(a.held, rest...)
	err := releaseAll(context.WithoutCancel(ctx), &a.held)
	a.mu.Lock()
	defer a.mu.Unlock()
	if before == nil {
		err = errors.Join(a.err, err)
	}
	return err
}
