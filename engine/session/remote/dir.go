package remote

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io/fs"
	"sync"

	bksession "github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"

	"github.com/tenonbuild/tenon/engine/session"
)

// Dir implements session.Session. Whether there is such a directory shows when it is read.
func (s *Session) Dir(_ context.Context, name string) (session.Dir, error) {
	return session.Dir{Sync: &session.Sync{Key: s.key(), To: func(ctx context.Context, dir string, f session.SyncFilter, a session.Arrival) error {
		return s.sync(ctx, name, dir, f, a)
	}}}, nil
}

// key is what files are kept by that are sent: nobody else's, where it is not known whose.
func (s *Session) key() string {
	if s.client == "" {
		return "session " + s.id
	}
	return fmt.Sprintf("client %q %s", s.client, s.caller.SharedKey())
}

func (s *Session) sync(ctx context.Context, name, dir string, f session.SyncFilter, a session.Arrival) error {
	if !s.caller.Supports(bksession.MethodURL("moby.filesync.v1.FileSync", "DiffCopy")) {
		return fmt.Errorf("the client lends no directories: %w", session.ErrNotFound)
	}
	differ := fsutil.DiffMetadata
	if f.All {
		differ = fsutil.DiffNone
	}
	err := filesync.FSSync(ctx, s.caller, filesync.FSSendRequestOpt{
		Name: name, DestDir: dir, Differ: differ,
		IncludePatterns: f.Include, ExcludePatterns: f.Exclude, FollowPaths: f.Follow,
		ProgressCb: func(n int, _ bool) { a.Bytes(n) },
		Filter: func(_ string, st *types.Stat) bool {
			if st.Path != "" { // otherwise it is of a path that is removed
				a.Entry(st)
			}
			return true
		},
		CacheUpdater: &arriving{to: a, open: map[*types.Stat]*counting{}},
	})
	return told(err)
}

// arriving hashes files while they are written. It implements filesync.CacheUpdater.
type arriving struct {
	to session.Arrival

	mu   sync.Mutex
	open map[*types.Stat]*counting // by what names the file in both calls about it
}

// counting is a hash that counts what it is given.
type counting struct {
	hash.Hash
	size int64
}

// Write implements io.Writer.
func (c *counting) Write(p []byte) (int, error) {
	c.size += int64(len(p))
	return c.Hash.Write(p)
}

// MarkSupported implements filesync.CacheUpdater.
func (*arriving) MarkSupported(bool) {}

// ContentHasher implements filesync.CacheUpdater.
func (c *arriving) ContentHasher() fsutil.ContentHasher {
	return func(st *types.Stat) (hash.Hash, error) {
		h := &counting{Hash: c.to.Hash(st)}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open[st] = h
		return h, nil
	}
}

// HandleChange implements filesync.CacheUpdater.
func (c *arriving) HandleChange(_ fsutil.ChangeKind, path string, fi fs.FileInfo, err error) error {
	if err != nil || fi == nil {
		return err
	}
	st, _ := fi.Sys().(*types.Stat)
	c.mu.Lock()
	h := c.open[st]
	delete(c.open, st)
	c.mu.Unlock()
	if h != nil && fi.Mode().IsRegular() && st.Linkname == "" {
		c.to.File(path, h.size, [sha256.Size]byte(h.Sum(nil)))
	}
	return nil
}
