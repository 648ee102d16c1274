package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
)

// mirrorDir is where mirrors are: see Store.Path.
const mirrorDir = "local-mirror"

// mirror is where a directory is sent to. Whoever has its turn has it alone.
type mirror struct {
	dir string
	// syncs counts how often something was sent to it by this process.
	syncs int
	// come is what the last sync has told, until it is listed.
	come *arrival
}

// sent names what was sent to a mirror.
type sent struct {
	mirror *mirror
	syncs  int
}

// mirrorOf returns the mirror of a directory of a sender.
func (s *Source) mirrorOf(key string, w wanted) *mirror {
	name := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", key, w.name, w.hint))
	return s.mirrorIn(s.opt.Store.Path(mirrorDir, hex.EncodeToString(name[:16])))
}

func (s *Source) mirrorIn(dir string) *mirror {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mirrors[dir]
	if m == nil {
		m = &mirror{dir: dir}
		s.mirrors[dir] = m
	}
	return m
}

// turn is what those who use a mirror take, apart from that of those who read it.
func (m *mirror) turn() string { return mirrorDir + ":" + m.dir }

// mirrored calls fn with the mirror of a directory that is sent, when it has what is
// wanted. It is sent once for all calls, unless another build has used the mirror since.
func (i *instance) mirrored(ctx context.Context, d session.Dir, fn func(session.Dir, wanted, *mirror) error) error {
	m := i.source.mirrorOf(d.Sync.Key, i.want)
	leave, err := i.source.enter(ctx, m.turn())
	if err != nil {
		return err
	}
	defer leave()
	if i.sent != (sent{m, m.syncs}) || m.syncs == 0 {
		if err := i.receive(ctx, d.Sync, m); err != nil {
			return err
		}
		i.sent = sent{m, m.syncs}
	}
	w := i.want
	w.include, w.exclude, w.follow = nil, nil, nil // nothing else was sent
	return fn(session.Dir{Path: m.dir}, w, m)
}

// sent lists what was sent to a mirror last. It is nil where the mirror has to be read for
// that.
func (s *Source) sent(m *mirror, w wanted) (*listing, error) {
	if m == nil || m.come == nil || w.metadata {
		return nil, nil
	}
	come, files := m.come, s.filesOf(m)
	m.come = nil // whoever lists it has all of it
	if files == nil {
		return nil, nil
	}
	return come.listing(w, files)
}

// receive has what is wanted sent to a mirror. One to which not all came is removed: of a
// file there might be a part.
func (i *instance) receive(ctx context.Context, from *session.Sync, m *mirror) error {
	m.syncs++
	m.come = nil
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	p := i.progress(ctx)
	defer p.done()
	come := &arrival{progress: p, files: map[string]content{}}
	err := from.To(ctx, m.dir, session.SyncFilter{
		Include: i.want.include, Exclude: i.want.exclude, Follow: i.want.follow, All: i.want.all,
	}, come)
	if err != nil {
		i.source.know(m, nil)
		return errors.Join(err, os.RemoveAll(m.dir))
	}
	files, err := come.contents(ctx, m, i.source.filesOf(m))
	i.source.know(m, files)
	if err != nil {
		return err
	}
	m.come = come
	now := i.source.now() // the last use, which List tells
	return os.Chtimes(m.dir, now, now)
}

// mirrorsKept are the mirrors as the store lists and removes them.
type mirrorsKept struct{ s *Source }

// List implements store.Kept.
func (k mirrorsKept) List(context.Context) ([]store.UsageInfo, error) {
	top := k.s.opt.Store.Path(mirrorDir)
	entries, err := os.ReadDir(top)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []store.UsageInfo
	for _, e := range entries {
		dir := filepath.Join(top, e.Name())
		fi, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		size, err := store.SizeOf(dir)
		if err != nil {
			return nil, err
		}
		all = append(all, store.UsageInfo{
			ID: e.Name(), Type: store.TypeLocalSource, Description: "local directory as a client has sent it", Size: size,
			InUse: k.s.busy(&mirror{dir: dir}), CreatedAt: fi.ModTime(), LastUsedAt: fi.ModTime(),
		})
	}
	return all, nil
}

// Remove implements store.Kept.
func (k mirrorsKept) Remove(ctx context.Context, id string) (removed bool, err error) {
	m := k.s.mirrorIn(k.s.opt.Store.Path(mirrorDir, filepath.Base(id)))
	if k.s.busy(m) {
		return false, nil
	}
	leave, err := k.s.enter(ctx, m.turn())
	if err != nil {
		return false, err
	}
	defer leave()
	m.syncs++ // what was sent is no longer there
	m.come = nil
	k.s.know(m, nil)
	if _, err := os.Lstat(m.dir); err != nil {
		return false, nil
	}
	return true, os.RemoveAll(m.dir)
}

// busy says whether somebody uses a mirror.
func (s *Source) busy(m *mirror) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turns[m.turn()] != nil
}
