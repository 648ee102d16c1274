package execop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/moby/buildkit/executor"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// mounts are the mounts of one run, and what they hold.
type mounts struct {
	root    executor.Mount
	others  []executor.Mount
	trees   []store.Tree // by slot; nil where it shows none
	outputs []output
	caches  map[string]*store.CacheMount // by ID; among held, unless they are of another run
	held    []holder                     // released last first
}

// output is what a mount results in: a tree that is written to, or a ref that is
// borrowed from the inputs.
type output struct {
	tree *store.Mutable
	ref  *store.Ref
}

// holder is what is released once.
type holder interface {
	Release(ctx context.Context) error
}

// mount makes what the slots decided. The refs of the inputs are borrowed, and so are the
// cache mounts, which are taken if they are nil. What is returned is to be released, also
// with an error.
func (o *op) mount(ctx context.Context, refs []*store.Ref, caches map[string]*store.CacheMount) (*mounts, error) {
	m := &mounts{trees: make([]store.Tree, len(o.slots)), outputs: make([]output, o.outputs), caches: caches}
	if caches == nil {
		if err := o.takeCaches(ctx, m, refs); err != nil {
			return m, err
		}
	}
	for i, s := range o.slots {
		src, err := o.source(ctx, m, s, refs)
		if err != nil {
			return m, err
		}
		m.trees[i], _ = src.(store.Tree)
		switch {
		case src == nil: // optional, and not given
		case s.isRoot():
			m.root = executor.Mount{Src: src, Dest: s.dest, Readonly: s.mount.Readonly, Selector: s.mount.Selector}
		default:
			m.others = append(m.others, executor.Mount{Src: src, Dest: s.dest, Readonly: s.mount.Readonly, Selector: s.mount.Selector})
		}
	}
	// What is mounted in something comes after it.
	slices.SortStableFunc(m.others, func(a, b executor.Mount) int { return cmp.Compare(a.Dest, b.Dest) })
	return m, nil
}

// source makes what one slot mounts, and notes what it results in. It is nil for
// what is optional and not given.
func (o *op) source(ctx context.Context, m *mounts, s slot, refs []*store.Ref) (executor.Mountable, error) {
	ref := s.ref(refs)
	switch s.role {
	case roleCache:
		m.results(s, output{ref: ref})
		return m.caches[s.cacheID(refs)], nil
	case roleTmpfs:
		return tmpfs{size: s.mount.TmpfsOpt.GetSize()}, nil
	case roleSecret:
		return o.secretMount(ctx, s)
	case roleSSH:
		return o.sshMount(ctx, s)
	}
	if s.role == roleInput && ref != nil {
		m.results(s, output{ref: ref})
		return ref, nil
	}
	tree, err := o.Store.New(ctx, ref, store.NewOptions{
		Description: fmt.Sprintf("mount %s from exec %s", s.dest, o.command()),
		RecordType:  "regular",
		TimesCount:  o.TimesCount,
	})
	if err != nil {
		return nil, fmt.Errorf("a tree for the mount %s: %w", s.dest, err)
	}
	m.held = append(m.held, tree)
	if s.role == roleTree {
		m.results(s, output{tree: tree})
	}
	return tree, nil
}

func (m *mounts) results(s slot, out output) {
	if s.output != none {
		m.outputs[s.output] = out
	}
}

// commit makes the results.
func (m *mounts) commit(ctx context.Context) ([]solver.Result, error) {
	results := make([]solver.Result, 0, len(m.outputs))
	for _, out := range m.outputs {
		ref, err := out.commit(ctx)
		if err != nil {
			return nil, errors.Join(err, releaseAll(ctx, results))
		}
		results = append(results, store.NewResult(ref))
	}
	return results, nil
}

func releaseAll(ctx context.Context, results []solver.Result) (err error) {
	for _, r := range results {
		err = errors.Join(err, r.Release(context.WithoutCancel(ctx)))
	}
	return err
}

// commit returns a ref of its own. It is nil for the empty tree.
func (out output) commit(ctx context.Context) (*store.Ref, error) {
	if out.tree != nil {
		return out.tree.Commit(ctx)
	}
	if out.ref == nil {
		return nil, nil
	}
	return out.ref.Clone(), nil
}

// release gives up what is held. Trees that have been committed hold nothing.
func (m *mounts) release(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	var errs error
	for _, h := range slices.Backward(m.held) {
		errs = errors.Join(errs, h.Release(ctx))
	}
	m.held = nil
	return errs
}
