package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/identity"
	"github.com/moby/sys/user"
	bolt "go.etcd.io/bbolt"
)

// mountable is mounts that somebody is going to make. It implements
// executor.MountableRef. It is called for every Mount; release may be nil.
type mountable func() (mounts []mount.Mount, release func() error, err error)

// Mount returns what is to be mounted, and a function that is called when it is
// not mounted any more.
func (m mountable) Mount() ([]mount.Mount, func() error, error) {
	mounts, release, err := m()
	if err != nil {
		return nil, nil, err
	}
	if release == nil {
		release = func() error { return nil }
	}
	return slices.Clone(mounts), sync.OnceValue(release), nil
}

// always is mounts for which nothing has to be done.
func always(mounts ...mount.Mount) mountable {
	return func() ([]mount.Mount, func() error, error) { return mounts, nil, nil }
}

// IdentityMapping is nil: files have the owners they seem to have.
func (m mountable) IdentityMapping() *user.IdentityMapping { return nil }

// view is a mount of a record's tree, which has to be prepared and given back.
type view struct {
	key    string
	mounts []mount.Mount
	// uses counts the record's own and those of mounts. It is guarded by index.mu.
	uses int
}

// readonly returns the mounts of a committed snapshot of a record that is held.
func (s *Store) readonly(ctx context.Context, rec *record, key string) (mountable, error) {
	if s.back.name == overlayName {
		mounts, err := s.back.overlayMounts(ctx, key)
		return always(mounts...), err
	}
	s.index.mu.Lock()
	v := rec.view
	s.index.mu.Unlock()
	if v == nil {
		v = &view{key: "view-" + identity.NewID(), uses: 1}
		m, err := s.back.snaps.View(leases.WithLease(ctx, s.run), v.key, key)
		if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", key, err)
		}
		if v.mounts, _, err = m.Mount(); err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", key, err)
		}
		if v, err = s.shareView(ctx, rec, v); err != nil {
			return nil, err
		}
	}
	return func() ([]mount.Mount, func() error, error) {
		s.index.mu.Lock()
		defer s.index.mu.Unlock()
		if v.uses == 0 {
			return nil, nil, fmt.Errorf("tree %s is mounted after it was released", rec.id)
		}
		v.uses++
		return v.mounts, func() error { return s.dropViews(ctx, []*view{v}) }, nil
	}, nil
}

// shareView makes v the view of a record, unless it has one by now.
func (s *Store) shareView(ctx context.Context, rec *record, v *view) (*view, error) {
	s.index.mu.Lock()
	other := rec.view
	if other == nil && rec.holds > 0 {
		rec.view = v
	}
	s.index.mu.Unlock()
	if other == nil {
		return v, nil
	}
	return other, s.dropViews(ctx, []*view{v})
}

// dropViews gives up one use of each view.
func (s *Store) dropViews(ctx context.Context, views []*view) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, v := range views {
		s.index.mu.Lock()
		v.uses--
		last := v.uses == 0
		s.index.mu.Unlock()
		if !last {
			continue
		}
		err := s.back.snaps.Remove(leases.WithLease(s.Context(ctx), s.run), v.key)
		if err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("view %s: %w", v.key, err))
		}
	}
	return errors.Join(errs...)
}

// upperdirLabel is where the overlay snapshotter says in which directory a
// snapshot's own files are.
const upperdirLabel = "containerd.io/snapshot/overlay.upperdir"

// overlayMounts returns the read-only mount of a committed snapshot, which is of
// the directories of its chain. Nothing has to be prepared for it.
func (b *backend) overlayMounts(ctx context.Context, key string) ([]mount.Mount, error) {
	var dirs []string
	for k := key; k != ""; {
		info, err := b.snaps.Stat(ctx, k)
		if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", key, err)
		}
		dir := info.Labels[upperdirLabel]
		if dir == "" {
			return nil, fmt.Errorf("snapshot %s: the snapshotter does not say where it is", key)
		}
		dirs = append(dirs, dir)
		k = info.Parent
	}
	if len(dirs) == 1 {
		return []mount.Mount{{Type: "bind", Source: dirs[0], Options: []string{"ro", "rbind"}}}, nil
	}
	opts := append([]string{"lowerdir=" + strings.Join(dirs, ":")}, b.overlayOptions...)
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: opts}}, nil
}

// active returns the mounts of a snapshot that is being written.
func (s *Store) active(ctx context.Context, key string, readonly bool) ([]mount.Mount, error) {
	m, err := s.back.snaps.Mounts(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", key, err)
	}
	mounts, _, err := m.Mount()
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", key, err)
	}
	if readonly {
		mounts = asReadonly(mounts)
	}
	return mounts, nil
}

// asReadonly returns mounts by which nothing can be written. Of an overlay the
// upper directory becomes the topmost lower one, since it must not be the upper one
// of two mounts.
func asReadonly(mounts []mount.Mount) []mount.Mount {
	out := make([]mount.Mount, len(mounts))
	for i, m := range mounts {
		opts := []string{"ro"}
		var upper, lower string
		for _, o := range m.Options {
			name, dir, _ := strings.Cut(o, "=")
			switch name {
			case "rw", "ro", "workdir":
			case "upperdir":
				upper = dir + ":"
			case "lowerdir":
				lower = dir
			default:
				opts = append(opts, o)
			}
		}
		if lower != "" {
			opts = append(opts, "lowerdir="+upper+lower)
		}
		m.Options = opts
		out[i] = m
	}
	return out
}

// emptyMountable is the empty tree, which belongs to no store: a file system of its
// own, in which nothing is and nothing can be made.
var emptyMountable = always(mount.Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"ro", "mode=0755", "size=4k"}})

// removeActive gives up a snapshot that was being written, and its lease. Its room is
// free after the next collection, at Close at the latest.
func (s *Store) removeActive(ctx context.Context, lease, key string) error {
	ctx = s.Context(context.WithoutCancel(ctx))
	err := s.update(ctx, func(ctx context.Context, _ *bolt.Bucket) error {
		if err := s.back.snaps.Remove(leases.WithLease(ctx, lease), key); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		if err := s.back.leases.Delete(ctx, leases.Lease{ID: lease}); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		return nil
	})
	s.garbage.Add(1)
	if err := errors.Join(err, s.collectIfWorthIt(ctx)); err != nil {
		return fmt.Errorf("snapshot %s cannot be removed: %w", key, err)
	}
	return nil
}
