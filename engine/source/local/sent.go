package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// sender names a directory of somebody who sends it, as directories in place are named by
// their paths.
func sender(key string, w wanted) string { return fmt.Sprintf("sent %q %q %q", key, w.name, w.hint) }

// receive has what is wanted of a directory sent. One directory of a sender is sent once at
// a time: the second then finds what the first has got.
func (i *instance) receive(ctx context.Context, from *session.Sync) error {
	w := i.want
	w.sender = sender(from.Key, w)
	leave, err := i.source.enter(ctx, w.sender)
	if err != nil {
		return err
	}
	defer leave()
	before, err := i.source.sentBefore(ctx, w)
	if err != nil {
		return err
	}
	err = i.receiveAfter(ctx, from, w, before)
	var changed *ChangedError
	if before != nil && errors.As(err, &changed) {
		// It has come to harm on the disk.
		i.source.forget(before)
		err = i.receiveAfter(ctx, from, w, nil)
	}
	return errors.Join(err, before.release(ctx))
}

// receiveAfter is receive where something was sent before.
func (i *instance) receiveAfter(ctx context.Context, from *session.Sync, w wanted, before *sentTree) (err error) {
	p := i.progress(ctx)
	defer p.done()
	a, err := i.source.arrival(ctx, w, p, before)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close(ctx)) }()
	if err := from.From(ctx, session.SyncFilter{Include: w.include, Exclude: w.exclude, Follow: w.follow}, a); err != nil {
		return err
	}
	ref, read, err := a.end(ctx)
	if err != nil {
		return err
	}
	i.read, i.key, i.tree = read, read.root.Sum(), ref.ID()
	if before == nil || before.ref.ID() != ref.ID() {
		i.source.know(ref.ID(), read)
	}
	return ref.Release(context.WithoutCancel(ctx))
}

// taken returns the tree of what was sent.
//
// Errors: *ChangedError, if it was pruned: it has to be sent again.
func (i *instance) taken(ctx context.Context) (*store.Ref, error) {
	ref, err := i.source.opt.Store.Get(ctx, i.tree)
	if err != nil {
		return nil, &ChangedError{Dir: i.want.name}
	}
	return ref, nil
}

// sentTree is a tree of what a client has sent before, which nobody has changed since.
type sentTree struct {
	ref     *store.Ref
	several map[string]bool // paths of files that have other names in it
	*sentFiles
}

// file is a file of the tree. A nil *sentTree has none.
func (t *sentTree) file(path string) (content, bool) {
	if t == nil {
		return content{}, false
	}
	c, ok := t.files[path]
	return c, ok
}

func (t *sentTree) release(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.ref.Release(context.WithoutCancel(ctx))
}

// sentBefore finds the tree that was made last of what a client has sent; nil if there is
// none. That of the same filter is the best; one of another has some of the files.
func (s *Source) sentBefore(ctx context.Context, w wanted) (*sentTree, error) {
	for _, l := range s.lastOf(w.sender, w) {
		ref, err := s.opt.Store.Get(ctx, l.ID)
		if err != nil {
			continue // it was pruned
		}
		files := s.filesOf(l.ID)
		if files == nil {
			files, err = s.readSent(ctx, ref)
		}
		if err == nil {
			return &sentTree{ref: ref, several: l.severalPaths(), sentFiles: files}, nil
		}
		if err := errors.Join(context.Cause(ctx), ref.Release(context.WithoutCancel(ctx))); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// readSent reads a tree that another process has received.
func (s *Source) readSent(ctx context.Context, ref *store.Ref) (_ *sentFiles, err error) {
	dir, unmount, err := store.ReadLocal(ctx, ref)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	at, err := openPlace(dirAt(dir))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	r := newReader(wanted{})
	r.place, r.own, r.progress, r.start, r.memory = at, &own{}, &progress{to: solver.ProgressFrom(ctx)}, s.now(), s.remember("")
	r.content = r.file
	if err := errors.Join(r.walk(ctx), r.hash(ctx)); err != nil {
		return nil, err
	}
	r.sweep()
	return s.know(ref.ID(), &listing{root: r.root, found: r.found}), nil
}

func dirAt(path string) session.Dir { return session.Dir{Path: path} }

// content is the content of a regular file.
type content struct {
	mtime int64
	sum   contenthash.Sum
	of    contenthash.Sum // of all else that sum is of: see contenthash.Entry.ContentHash
}
