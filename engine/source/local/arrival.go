package local

import (
	"crypto/sha256"
	"os"
	"sync"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tonistiigi/fsutil/types"
)

// content is the content of a regular file.
type content struct {
	size int64
	sum  contenthash.Sum
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
	a.files[path] = content{size, sum}
}

// contents are those of all files of a mirror to which this has come, by what they were
// before; nil if they are not known, or if a file has several names.
func (a *arrival) contents(before map[string]content) map[string]content {
	all := make(map[string]content, len(a.entries))
	for _, st := range a.entries {
		if !os.FileMode(st.Mode).IsRegular() {
			continue
		}
		c, ok := a.files[st.Path]
		if !ok {
			c, ok = before[st.Path]
		}
		if !ok || st.Linkname != "" {
			return nil
		}
		all[st.Path] = c
	}
	return all
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
