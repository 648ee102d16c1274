package local

import (
	"context"
	"crypto/sha256"
	"hash"
	"os"
	"sync"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tonistiigi/fsutil/types"
	"golang.org/x/sys/unix"
)

// content is the content of a regular file.
type content struct {
	size int64
	sum  contenthash.Sum
	of   contenthash.Sum // of all else that sum is of: see contenthash.Entry.ContentHash
}

// headOf is the sum of all that a file's content is hashed with but its bytes.
func headOf(e *contenthash.Entry) contenthash.Sum {
	return contenthash.Sum(e.ContentHash().Sum(nil))
}

// fileOf is what a Stat tells of a regular file.
func fileOf(st *types.Stat) *contenthash.Entry {
	e := entryOf(st)
	e.Size = st.Size
	return &e
}

// arrival is what a sync has told. It implements session.Arrival.
type arrival struct {
	progress *progress
	entries  []*types.Stat

	mu    sync.Mutex
	files map[string]content // that were written
}

// Bytes implements session.Arrival.
func (a *arrival) Bytes(n int) { a.progress.set(int64(n)) }

// Entry implements session.Arrival.
func (a *arrival) Entry(st *types.Stat) {
	if n := len(a.entries); n == 0 || a.entries[n-1].Path != st.Path {
		a.entries = append(a.entries, st)
	}
}

// File implements session.Arrival.
func (a *arrival) File(path string, size int64, sum [sha256.Size]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files[path] = content{size: size, sum: sum}
}

// Hash implements session.Arrival.
func (a *arrival) Hash(st *types.Stat) hash.Hash { return fileOf(st).ContentHash() }

// contents are those of all files of a mirror to which this has come, by what they were
// before; nil if they are not known, or if a file has several names. A file whose
// attributes alone have changed was not sent again, and is read.
func (a *arrival) contents(ctx context.Context, m *mirror, before map[string]content) (map[string]content, error) {
	root, err := os.OpenRoot(m.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	all := make(map[string]content, len(a.entries))
	for _, st := range a.entries {
		if !os.FileMode(st.Mode).IsRegular() {
			continue
		}
		e := fileOf(st)
		c, come := a.files[st.Path]
		ok := come
		if come {
			c.of = headOf(e)
		} else {
			c, ok = before[st.Path]
		}
		if !ok || st.Linkname != "" || c.size != st.Size {
			return nil, nil
		}
		if c.of != headOf(e) {
			if c, err = readMirrored(ctx, root, st.Path, e); err != nil {
				return nil, err
			}
		}
		all[st.Path] = c
	}
	return all, nil
}

func readMirrored(ctx context.Context, root *os.Root, path string, e *contenthash.Entry) (content, error) {
	f, err := root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return content{}, err
	}
	defer f.Close()
	size, sum, err := e.SumContent(ctx, f)
	return content{size, sum, headOf(e)}, err
}

// listing makes a listing of what has come, without a look at the mirror.
func (a *arrival) listing(w wanted, files map[string]content) (*listing, error) {
	r := newReader(w)
	r.content = func(f *found) (there bool, err error) {
		c := files[f.path]
		f.node.Entry.Content, f.node.Entry.Size = c.sum, c.size
		return true, nil
	}
	for _, st := range a.entries {
		if err := r.add(st.Path, st); err != nil {
			return nil, err
		}
	}
	return &listing{root: r.root, found: r.found}, nil
}
