package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/identity"
	bolt "go.etcd.io/bbolt"
)

// NewOptions describe a record.
type NewOptions struct {
	// Description is for people.
	Description string
	// CreatedAt is when the tree was made; the zero time stands for now.
	CreatedAt time.Time
	// RecordType is shown by du, and can be asked for by Prune: one of the
	// Type constants; "" stands for TypeRegular.
	RecordType string
	// TimesCount makes the times of files part of what the tree is, for who computes
	// content keys: they are not when it was made, but say something.
	TimesCount bool
	// Windows says of an image's layers that they are laid out for Windows, as all are
	// that are made on these: see windows.go.
	Windows bool
}

// The types of records, and of what is kept beside them. The words are BuildKit's, but
// for the last four, which it has no records of.
const (
	TypeRegular     = "regular"
	TypeInternal    = "internal"
	TypeFrontend    = "frontend"
	TypeLocalSource = "source.local"
	TypeGitCheckout = "source.git.checkout"
	TypeCacheMount  = "exec.cachemount"
	TypeGitRepo     = "source.git.repo"
	TypeHTTPNotes   = "source.http.notes"
	TypeImage       = "image.untagged"
	TypeDamaged     = "damaged"
)

// facts returns what a new record of these options begins as.
func (o NewOptions) facts(k kind, parents ...*record) facts {
	f := facts{Kind: k, Type: o.RecordType, Description: o.Description, CreatedAt: o.CreatedAt, TimesCount: o.TimesCount, Windows: o.Windows && k == kindLayer}
	if f.Type == "" {
		f.Type = TypeRegular
	}
	now := time.Now()
	if f.CreatedAt.IsZero() {
		f.CreatedAt = now
	}
	f.LastUsed = now
	for _, p := range parents {
		if p == nil {
			f.Parents = append(f.Parents, "")
		} else {
			f.Parents = append(f.Parents, p.id)
		}
	}
	return f
}

// Mutable is a tree being written. It has one owner, who either commits or
// releases it. Until it is committed it is lost when the process ends.
type Mutable struct {
	s      *Store
	id     string
	key    string // of the active snapshot
	parent *Ref   // held; nil for the empty tree
	opt    NewOptions
	// done and links are guarded by the index's lock.
	done  bool
	links *Linker // nil until LinkFrom
}

// New makes a Mutable on top of parent (nil: the empty tree), which is borrowed.
// What is missing of parent is fetched and unpacked first.
func (s *Store) New(ctx context.Context, parent *Ref, opt NewOptions) (*Mutable, error) {
	base, err := parent.use()
	if err != nil {
		return nil, err
	}
	ctx = s.Context(ctx)
	var below string
	if base != nil {
		if below, err = s.base(ctx, base); err != nil {
			return nil, err
		}
	}
	m := &Mutable{s: s, id: identity.NewID(), opt: opt}
	m.key = m.id + "-new"
	if err := s.prepare(ctx, m.id, m.key, below); err != nil {
		return nil, err
	}
	m.parent = parent.Clone()
	return m, nil
}

// prepare makes an active snapshot with a lease of its own.
func (s *Store) prepare(ctx context.Context, lease, key, parent string) error {
	err := s.update(ctx, func(ctx context.Context, _ *bolt.Bucket) error {
		if _, err := s.back.leases.Create(ctx, leases.WithID(lease)); err != nil {
			return err
		}
		return s.back.snaps.Prepare(leases.WithLease(ctx, lease), key, parent)
	})
	if err != nil {
		return fmt.Errorf("new tree: %w", err)
	}
	return nil
}

// ID is that of the Ref that Commit returns.
func (m *Mutable) ID() string { return m.id }

// finish makes sure that only one Commit or Release is made.
func (m *Mutable) finish() error {
	m.s.index.mu.Lock()
	defer m.s.index.mu.Unlock()
	if m.done {
		return fmt.Errorf("tree %s being written: %w", m.id, ErrReleased)
	}
	m.done = true
	return nil
}

// Mount returns how to mount the tree. For writing it can be mounted once at a
// time. It implements executor.Mountable.
func (m *Mutable) Mount(ctx context.Context, readonly bool) (executor.MountableRef, error) {
	m.s.index.mu.Lock()
	done := m.done
	m.s.index.mu.Unlock()
	if done {
		return nil, fmt.Errorf("tree %s being written: %w", m.id, ErrReleased)
	}
	mounts, err := m.s.active(m.s.Context(ctx), m.key, readonly)
	return always(mounts...), err
}

// Commit makes the tree immutable and returns its Ref, which is the caller's. It
// consumes m, even if it fails. The tree should not be mounted for writing any more.
func (m *Mutable) Commit(ctx context.Context) (*Ref, error) {
	if err := m.finish(); err != nil {
		return nil, err
	}
	s := m.s
	ctx = s.Context(ctx)
	if err := m.clean(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("tree %s cannot be committed: %w", m.id, err), m.discard(ctx))
	}
	rec := &record{id: m.id}
	if m.parent != nil {
		rec.parents = []*record{m.parent.rec}
	}
	rec.facts = m.opt.facts(kindCommitted, rec.parents...)
	rec.facts.Snapshot = m.id
	rec.facts.Linked = m.linked()
	err := s.update(ctx, func(ctx context.Context, top *bolt.Bucket) error {
		if err := s.back.snaps.Commit(leases.WithLease(ctx, m.id), m.id, m.key); err != nil {
			return err
		}
		return putFacts(top, rec.id, rec.facts)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tree %s cannot be committed: %w", m.id, err), m.discard(ctx))
	}
	s.index.mu.Lock()
	s.index.insert(rec)
	if rec.facts.Linked != nil {
		s.index.lend(rec.facts.Linked.From)
	}
	ref := s.newRef(rec)
	s.index.mu.Unlock()
	if err := m.parent.Release(ctx); err != nil {
		return nil, errors.Join(err, ref.Release(ctx))
	}
	return ref, nil
}

// clean sees to it that nothing in the tree is taken for overlayfs's notes. Through a
// mount of overlayfs none can be made; in a plain directory, which is the lowest of later
// mounts, whoever wrote it can have made them.
func (m *Mutable) clean(ctx context.Context) error {
	mounts, err := m.s.active(ctx, m.key, false)
	if err != nil {
		return err
	}
	if len(mounts) != 1 || mounts[0].Type == "overlay" {
		return nil
	}
	return cleanTree(ctx, mounts[0].Source)
}

// Release throws the tree away. It does nothing after Commit or Release.
func (m *Mutable) Release(ctx context.Context) error {
	if m.finish() != nil {
		return nil
	}
	return m.discard(ctx)
}

func (m *Mutable) discard(ctx context.Context) error {
	return errors.Join(m.s.removeActive(ctx, m.id, m.key), m.parent.Release(ctx))
}
