package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"

	"github.com/moby/buildkit/identity"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/store"
)

// attempts is how often a directory that changes while it is read is read again.
const attempts = 3

// ChangedError says that a local directory changed while it was read, so that what
// was copied would not have been what the build is keyed by.
type ChangedError struct {
	Dir  string // the directory's name
	Path string // what changed, below it; "" if that is not known
}

func (e *ChangedError) Error() string {
	what := "something"
	if e.Path != "" {
		what = fmt.Sprintf("%q", e.Path)
	}
	return fmt.Sprintf("local directory %q: %s changed while it was read: build again when it is not being written, or exclude it with .dockerignore", e.Dir, what)
}

// instance is one operation.
type instance struct {
	source *Source
	want   wanted

	mu sync.Mutex // held through CacheKey and Snapshot; guards all below
	// read is what was found when the key was made; nil before.
	read *listing
	key  contenthash.Sum
	// tree is the ID of the tree, if the directory is sent: it is made while the directory
	// is read.
	tree string
}

// CacheKey is the digest of the filtered directory. There is only one.
func (i *instance) CacheKey(ctx context.Context, _ int) (string, bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.scan(ctx); err != nil {
		return "", false, err
	}
	return i.key.Digest().String(), true, nil
}

// Snapshot copies the filtered directory, as it was when the key was made. The Ref
// is the caller's; it is nil if there is nothing in it.
//
// Errors: *ChangedError, if that is no longer possible. The directory as it is now is
// no way out: it would be kept, and found again, under the key of what it was.
func (i *instance) Snapshot(ctx context.Context) (*store.Ref, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.scan(ctx); err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		ref, err := i.snapshot(ctx)
		var changed *ChangedError
		if err == nil || !errors.As(err, &changed) || n == attempts {
			return ref, err
		}
		// It may be the same again: many programs replace a file with an equal one.
		was := i.key
		i.read = nil
		if err := i.scan(ctx); err != nil {
			return nil, err
		}
		if i.key != was {
			return nil, changed
		}
	}
}

// scan reads the directory, if that was not done yet.
func (i *instance) scan(ctx context.Context) error {
	if i.read != nil {
		return nil
	}
	i.tree = ""
	return i.withDir(ctx, func(d session.Dir) error {
		if d.Sync != nil && source.IsLooking(ctx) {
			return errors.New("it would be sent, and nothing is to be written")
		}
		if d.Sync != nil {
			return i.receive(ctx, d.Sync)
		}
		p := i.progress(ctx)
		read, err := i.source.scan(ctx, d, i.want, p)
		p.done()
		if err != nil {
			return err
		}
		i.read, i.key = read, read.root.Sum()
		return nil
	})
}

func (i *instance) snapshot(ctx context.Context) (ref *store.Ref, err error) {
	if len(i.read.found) == 0 {
		return nil, nil
	}
	if i.tree != "" {
		return i.taken(ctx)
	}
	err = i.withDir(ctx, func(d session.Dir) error {
		p := i.progress(ctx)
		ref, err = i.source.copy(ctx, d, i.want, i.read, p)
		p.done()
		return err
	})
	return ref, err
}

// withDir calls fn with the directory of the session that the operation names if it is
// alive, or else of one that waits for it. If that session goes away meanwhile, the next is
// tried.
func (i *instance) withDir(ctx context.Context, fn func(session.Dir) error) error {
	for {
		s, d, err := i.dir(ctx)
		if err != nil {
			return i.explain(err)
		}
		if err = fn(d); err == nil || ctx.Err() != nil {
			return i.explain(err)
		}
		if _, gone := i.source.opt.Sessions.Get(s.ID()); gone == nil {
			return i.explain(err)
		}
	}
}

func (i *instance) dir(ctx context.Context) (session.Session, session.Dir, error) {
	all := i.source.opt.Sessions
	if i.want.session != "" {
		s, err := all.Get(i.want.session)
		if err == nil {
			var d session.Dir
			if d, err = s.Dir(ctx, i.want.name); err == nil {
				return s, d, nil
			}
		}
		if !errors.Is(err, session.ErrNotFound) {
			return nil, session.Dir{}, err
		}
	}
	s, err := all.Of(ctx)
	if err != nil {
		return nil, session.Dir{}, err
	}
	d, err := s.Dir(ctx, i.want.name)
	return s, d, err
}

// explain says which directory an error is about, and what can be done.
func (i *instance) explain(err error) error {
	var changed *ChangedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &changed):
		return err
	case errors.Is(err, session.ErrNotFound):
		return fmt.Errorf("local directory %q is not lent to this build: %w", i.want.name, err)
	case errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EPERM): // which is not about reading
		return fmt.Errorf("local directory %q: %w: make it readable, or exclude it with .dockerignore", i.want.name, err)
	}
	return fmt.Errorf("local directory %q: %w", i.want.name, err)
}

// Listing implements source.Lister.
func (i *instance) Listing() *contenthash.Node {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.read == nil {
		return nil
	}
	return i.read.root
}

// Imagine implements source.Imaginer.
func (i *instance) Imagine(ctx context.Context) (*store.Ref, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if err := i.scan(ctx); err != nil {
		return nil, err
	}
	if len(i.read.found) == 0 {
		return nil, nil
	}
	ref := i.source.opt.Store.Imagine("imagined-" + identity.NewID())
	if err := contenthash.Keep(ref, i.read.root); err != nil {
		return nil, errors.Join(err, ref.Release(ctx))
	}
	return ref, nil
}

// Describe implements source.Describer.
func (i *instance) Describe(_ context.Context, to *provenance.Capture) error {
	to.AddLocal(i.want.name)
	return nil
}
