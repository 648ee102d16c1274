package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tonistiigi/fsutil/types"
	"golang.org/x/sync/errgroup"
)

// arrival makes a tree of a directory while that is sent. It implements session.Arrival.
//
// Files are written while they come, into a tree of their own in which nothing but
// directories and these files are until all has come. Nothing that a client names leads
// out of it, or to a file that is there: what a client has sent before is not in it. The
// rest is made at the end, as for any other directory: see writer.
type arrival struct {
	ctx      context.Context // of the sending
	source   *Source
	want     wanted
	progress *progress
	before   *sentTree // what the client has sent before; nil for nothing
	held     int       // about how many bytes of memory files take that are not written yet

	read  *reader
	visit visitFunc
	meta  metadata
	files map[string]*found // those that are no further name of one before
	next  *incoming         // the file that was visited, if it is to be sent

	tree    *store.Mutable // nil until a file comes
	to      string         // where it is mounted
	unmount func() error
	there   map[string]bool // what is in it
	open    map[*incoming]struct{}
	writing *errgroup.Group
}

func (s *Source) arrival(ctx context.Context, w wanted, p *progress, before *sentTree) (*arrival, error) {
	a := &arrival{
		ctx: ctx, source: s, want: w, progress: p, before: before,
		read: newReader(w), files: map[string]*found{},
		there: map[string]bool{".": true}, open: map[*incoming]struct{}{}, writing: &errgroup.Group{},
	}
	a.writing.SetLimit(runtime.GOMAXPROCS(0))
	a.read.content = a.content
	a.visit = a.read.add
	if w.metadata {
		var err error
		a.visit, err = a.meta.collect(w.full, a.read.add)
		return a, err
	}
	return a, nil
}

// Bytes implements session.Arrival.
func (a *arrival) Bytes(n int) { a.progress.set(int64(n)) }

// Entry implements session.Arrival.
func (a *arrival) Entry(st *types.Stat) (io.WriteCloser, error) {
	a.next = nil
	if err := a.visit(st.Path, st); err != nil || a.next == nil {
		return nil, err
	}
	a.open[a.next] = struct{}{}
	return a.next, nil
}

// maxHeld is how much memory files may take that are small and have come. Where no more come,
// and the client has sent the same before, there is nothing to be written.
const maxHeld = 1 << 20

// hold keeps a small file that is whole in memory, if there is room.
func (a *arrival) hold(f *found, data []byte) (held bool, err error) {
	const each = 512 // beside its bytes
	if a.tree != nil || a.held+len(data)+each > maxHeld {
		return false, nil
	}
	a.held += len(data) + each
	f.data = append([]byte{}, data...)
	e := &f.node.Entry
	e.Size = int64(len(data)) // whatever was said of it
	_, e.Content, err = e.SumContent(a.ctx, bytes.NewReader(f.data))
	return true, err
}

// room makes the tree, and the directory that a file is to be written into.
func (a *arrival) room(f *found) error {
	if err := a.begin(); err != nil {
		return err
	}
	return a.mkdir(path.Dir(f.path))
}

// content finds a regular file among what was sent before, or has it sent.
func (a *arrival) content(f *found, st *types.Stat) (there bool, err error) {
	if first := a.files[st.Linkname]; first != nil {
		f.first, first.first = first, first
		return true, nil
	}
	a.files[f.path] = f
	e := &f.node.Entry
	if c, ok := a.before.file(f.path); ok && !a.want.all && c.mtime == f.mtime && c.of == headOf(e) {
		e.Content = c.sum
		return true, nil
	}
	a.next = &incoming{to: a, file: f}
	return true, nil
}

// begin makes the tree that files come into.
func (a *arrival) begin() (err error) {
	if a.tree != nil {
		return nil
	}
	if a.tree, err = a.source.newTree(a.ctx, a.want); err != nil {
		return err
	}
	a.to, a.unmount, err = store.MountLocal(a.ctx, a.tree, false)
	return err
}

// mkdir makes a directory, which has been visited with all that it is in.
func (a *arrival) mkdir(p string) error {
	if a.there[p] {
		return nil
	}
	if err := a.mkdir(path.Dir(p)); err != nil {
		return err
	}
	a.there[p] = true
	return os.Mkdir(filepath.Join(a.to, p), 0o700)
}

// end makes the tree, when everything has come. The Ref is the caller's; it is nil if there
// is nothing in the directory.
func (a *arrival) end(ctx context.Context) (*store.Ref, *listing, error) {
	if err := a.writing.Wait(); err != nil {
		return nil, nil, err
	}
	if len(a.open) > 0 {
		return nil, nil, errors.New("the client has not sent all files")
	}
	for _, f := range a.read.found {
		if f.first != nil {
			f.node.Entry, f.mtime = f.first.node.Entry, f.first.mtime
		}
	}
	if a.want.metadata {
		if err := a.read.addData(metadataFile, a.meta.data); err != nil {
			return nil, nil, err
		}
	}
	read := &listing{root: a.read.root, found: a.read.found}
	if len(read.found) == 0 {
		return nil, read, nil
	}
	if a.tree == nil && a.before != nil && a.before.key == read.root.Sum() {
		return a.before.ref.Clone(), read, nil
	}
	if err := a.begin(); err != nil {
		return nil, nil, err
	}
	ref, err := a.commit(ctx, read)
	return ref, read, err
}

// commit makes what has not come itself.
func (a *arrival) commit(ctx context.Context, read *listing) (_ *store.Ref, err error) {
	w := &writer{want: a.want, read: read, to: a.to, there: a.there, progress: a.progress}
	if a.before != nil && !a.want.all {
		dir, unmount, err := store.ReadLocal(ctx, a.before.ref)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, unmount()) }()
		if w.place, err = openPlace(dirAt(dir)); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, w.place.close()) }()
		w.links, _ = newLinks(ctx, a.tree, a.before.ref, a.before.several) // else all is copied
	}
	if err := errors.Join(w.write(ctx), w.links.close()); err != nil {
		return nil, err
	}
	unmount, tree := a.unmount, a.tree
	a.unmount, a.tree = nil, nil
	if err := unmount(); err != nil {
		return nil, errors.Join(err, tree.Release(context.WithoutCancel(ctx)))
	}
	return a.source.keep(ctx, tree, a.want, read, a.want.sender, w.several)
}

// close gives back what an arrival holds.
func (a *arrival) close(ctx context.Context) (err error) {
	_ = a.writing.Wait() // end says what it was
	for f := range a.open {
		err = errors.Join(err, f.discard())
	}
	if a.unmount != nil {
		err = errors.Join(err, a.unmount())
	}
	if a.tree != nil {
		err = errors.Join(err, a.tree.Release(context.WithoutCancel(ctx)))
	}
	if err != nil {
		return fmt.Errorf("giving up what has come: %w", err)
	}
	return nil
}

// headOf is the sum of all that a file's content is hashed with but its bytes.
func headOf(e *contenthash.Entry) contenthash.Sum {
	return contenthash.Sum(e.ContentHash().Sum(nil))
}
