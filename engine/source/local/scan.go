package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"golang.org/x/sync/errgroup"
)

// listing is what was found in a directory, filtered and hashed.
type listing struct {
	// root is the tree as it is to be in the snapshot.
	root *contenthash.Node
	// found are its paths without the root, each directory before what is in it.
	found []*found
}

// found is a path of a directory.
type found struct {
	path  string
	node  *contenthash.Node
	mtime int64 // nanoseconds since 1970
	// id is what the file was when it was hashed, in place; else zero.
	id ident
	// settled says that a file which still has this id still has these bytes.
	settled bool
	links   uint64 // hard links to the file, in place
	// first is the first name of a file that was sent by several.
	first *found
	// data are the bytes of a file that is not in the directory.
	data []byte
	gone bool
}

// scan reads and hashes what is wanted of a directory.
func (s *Source) scan(ctx context.Context, d session.Dir, w wanted, p *progress) (_ *listing, err error) {
	at, err := openPlace(d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, at.close()) }()
	leave, err := s.enter(ctx, at.dir)
	if err != nil {
		return nil, err
	}
	defer leave()

	r := newReader(w)
	r.place, r.own, r.progress, r.start, r.memory = at, s.own(d, at), p, s.now(), s.remember(at.dir)
	r.content = r.file
	if err := r.walk(ctx); err != nil {
		return nil, err
	}
	if err := r.hash(ctx); err != nil {
		return nil, err
	}
	r.sweep()
	r.own.tell(ctx)
	if source.IsLooking(ctx) {
		return &listing{root: r.root, found: r.found}, nil
	}
	if err := r.memory.save(); err != nil {
		warn(ctx, fmt.Errorf("local directory %q: what was hashed will be hashed again: %w", w.name, err))
	}
	return &listing{root: r.root, found: r.found}, nil
}

// reader is one scan, or one of what was sent, which has no place.
type reader struct {
	// content finds out the content of a regular file, or has it found out later. It says
	// whether the file is there.
	content func(*found, *types.Stat) (there bool, err error)

	place    *place
	own      *own
	want     wanted
	memory   *memory
	progress *progress
	start    time.Time

	root  *contenthash.Node
	found []*found
	dirs  map[string]*contenthash.Node
	lost  map[string]bool // directories that vanished during the walk
	todo  []*found        // files that are not remembered
}

func newReader(w wanted) *reader {
	root := &contenthash.Node{Entry: contenthash.Entry{Kind: contenthash.Dir, Mode: 0o755}}
	return &reader{want: w, root: root, dirs: map[string]*contenthash.Node{".": root}, lost: map[string]bool{}}
}

// filtered is what is wanted of the directory. Paths are followed one by one:
// fsutil follows a link once for all that it is given at once, and of two paths that
// lead through one linked folder it would find the first.
func (r *reader) filtered() (fsutil.FS, error) {
	files := steady{r.place.fs}
	opt := &fsutil.FilterOpt{IncludePatterns: r.want.include, ExcludePatterns: r.want.exclude}
	var all []string
	for _, p := range r.want.follow {
		reached, err := fsutil.FollowLinks(files, []string{p})
		if err != nil {
			return nil, err
		}
		if reached == nil { // it leads to the top: to everything
			return fsutil.NewFilterFS(files, opt)
		}
		all = append(all, reached...)
	}
	opt.IncludePatterns = slices.Concat(r.want.include, all)
	return fsutil.NewFilterFS(files, opt)
}

func (r *reader) walk(ctx context.Context) error {
	filtered, err := r.filtered()
	if err != nil {
		return err
	}
	visit := r.add
	m := &metadata{}
	if r.want.metadata {
		if visit, err = m.collect(r.want.full, r.add); err != nil {
			return err
		}
		filtered = fsutil.WithHardlinkReset(filtered)
	}
	var failed error // which fsutil's walk may take for a file that is gone: see steady
	err = filtered.Walk(ctx, "/", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := fi.Sys().(*types.Stat)
		if !ok {
			return fmt.Errorf("%s: its session tells nothing about it", p)
		}
		if r.own.leave(p, d.IsDir()) {
			return fs.SkipDir
		}
		failed = visit(p, st)
		return failed
	})
	if failed != nil {
		return failed
	}
	if err != nil || !r.want.metadata {
		return err
	}
	return r.addData(metadataFile, append([]byte{}, m.data...))
}

// vanished is the Stat of a path that is no longer there.
func vanished(p string) *types.Stat {
	return &types.Stat{Path: p, Mode: uint32(fs.ModeIrregular)}
}

// add takes a path into the tree.
func (r *reader) add(p string, st *types.Stat) error {
	mode := fs.FileMode(st.Mode)
	f := &found{path: p, mtime: st.ModTime, node: &contenthash.Node{Name: path.Base(p), Entry: entryOf(st)}}
	parent, err := r.parent(p)
	if err != nil {
		return err
	}
	if mode&fs.ModeIrregular != 0 || parent == nil {
		r.lost[p] = true
		return nil
	}
	e := &f.node.Entry
	switch e.Kind {
	case contenthash.Socket:
		return nil
	case contenthash.Dir:
		r.dirs[p] = f.node
	case contenthash.Symlink:
		e.Target, e.Mode, e.Xattrs = st.Linkname, 0o777, nil // whatever a client says
	case contenthash.Char, contenthash.Block:
		e.Major, e.Minor = uint32(st.Devmajor), uint32(st.Devminor)
	case contenthash.File:
		e.Size = st.Size
		if there, err := r.content(f, st); err != nil || !there {
			return err
		}
	case contenthash.Fifo:
	default:
		return fmt.Errorf("%s is of an unknown type: %v: exclude it with .dockerignore", p, mode)
	}
	parent.Children = append(parent.Children, f.node)
	r.found = append(r.found, f)
	return nil
}

// entryOf is what a Stat tells at once.
func entryOf(st *types.Stat) contenthash.Entry {
	mode := fs.FileMode(st.Mode)
	return contenthash.Entry{Kind: contenthash.KindOf(mode), Mode: contenthash.UnixMode(mode), Xattrs: keptXattrs(st.Xattrs)}
}

// parent returns the directory that a path is in; nil if that has vanished.
func (r *reader) parent(p string) (*contenthash.Node, error) {
	dir := path.Dir(p)
	if p == "" || p == "." || path.Clean(p) != p || path.IsAbs(p) || path.Base(p) == ".." || strings.ContainsRune(p, 0) {
		return nil, fmt.Errorf("its session names a path that cannot be: %q", p)
	}
	if parent := r.dirs[dir]; parent != nil {
		return parent, nil
	}
	if r.lost[dir] {
		return nil, nil
	}
	return nil, fmt.Errorf("its session names %q, but not the directory that it is in", p)
}

// file looks at a regular file. It is remembered, or is to be hashed; or it is no
// longer there, or a socket, which fsutil takes for a file.
func (r *reader) file(f *found, _ *types.Stat) (there bool, err error) {
	if r.place.root != nil {
		fi, err := r.place.lstat(f.path)
		if isGone(err) || (err == nil && !fi.Mode().IsRegular()) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		f.id, f.links = identOf(fi), linksOf(fi)
		if r.place.honest(f.path, f.id) {
			if sum, ok := r.memory.recall(f.path, f.id); ok {
				f.settled = true
				f.node.Entry.Content, f.node.Entry.Size = sum, f.id.size
				return true, nil
			}
		}
	}
	r.todo = append(r.todo, f)
	return true, nil
}

func (r *reader) addData(name string, data []byte) error {
	f := &found{path: name, data: data, node: &contenthash.Node{Name: name}}
	e := &f.node.Entry
	*e = contenthash.Entry{Kind: contenthash.File, Mode: 0o644, Size: int64(len(data))}
	var err error
	if _, e.Content, err = e.SumContent(context.Background(), strings.NewReader(string(data))); err != nil {
		return err
	}
	r.root.Children = append(r.root.Children, f.node)
	r.found = append(r.found, f)
	return nil
}

// hash reads the files that are not remembered.
func (r *reader) hash(ctx context.Context) error {
	eg, each := errgroup.WithContext(ctx)
	eg.SetLimit(runtime.GOMAXPROCS(0))
	for _, f := range r.todo {
		if each.Err() != nil {
			break
		}
		eg.Go(func() error { return r.hashFile(each, f) })
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	for _, f := range r.todo {
		if f.settled && !f.gone {
			r.memory.put(f.path, f.id, f.node.Entry.Content)
		}
	}
	return context.Cause(ctx)
}

func (r *reader) hashFile(ctx context.Context, f *found) error {
	for range attempts {
		same, err := r.try(ctx, f)
		if errors.Is(err, errGone) {
			f.gone = true
			return nil
		}
		if err != nil || same {
			return err
		}
	}
	return &ChangedError{Dir: r.want.name, Path: f.path}
}

// try hashes a file once, and says whether it was the same all the time.
func (r *reader) try(ctx context.Context, f *found) (same bool, err error) {
	file, err := r.place.open(f.path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	before, err := r.place.identify(file)
	if err != nil {
		return false, err
	}
	if before != f.id {
		// It was written or replaced since the walk. See that it is what the path means.
		fi, err := r.place.lstat(f.path)
		if err != nil {
			return false, errGone
		}
		if before != identOf(fi) {
			return false, nil
		}
	}
	e := &f.node.Entry
	if r.place.root != nil {
		e.Size = before.size
	}
	size, sum, err := e.SumContent(ctx, counted{file, r.progress})
	if err != nil {
		return false, fmt.Errorf("%s: %w", f.path, err)
	}
	after, err := r.place.identify(file)
	if err != nil || after != before {
		return false, err
	}
	if size != e.Size { // which the sum is of, too
		e.Size = size
		return false, nil
	}
	e.Content = sum
	f.settled = r.place.devs[before.dev] && before.settled(r.start) && before.mode == f.id.mode
	f.id = before
	return true, nil
}

// sweep takes out of the tree what vanished while it was read.
func (r *reader) sweep() {
	gone := map[*contenthash.Node]bool{}
	kept := r.found[:0]
	for _, f := range r.found {
		if f.gone {
			gone[f.node] = true
			continue
		}
		kept = append(kept, f)
	}
	r.found = kept
	if len(gone) == 0 {
		return
	}
	for _, dir := range r.dirs {
		left := dir.Children[:0]
		for _, c := range dir.Children {
			if !gone[c] {
				left = append(left, c)
			}
		}
		dir.Children = left
	}
}

func keptXattrs(all map[string][]byte) map[string][]byte {
	var kept map[string][]byte
	for k, v := range all {
		if contenthash.KeepXattr(k) {
			if kept == nil {
				kept = map[string][]byte{}
			}
			kept[k] = v
		}
	}
	return kept
}

var _ io.Reader = counted{}
