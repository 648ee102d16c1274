package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// ErrNoLinks says that files of one tree cannot be hard links to files of another:
// whoever gets it copies them.
var ErrNoLinks = errors.New("the trees cannot share files")

// Linker makes files of a tree that is being written hard links to those of the same
// path of an earlier tree, so that they take no room of their own.
//
// That trees share files is safe since nothing writes into a file of a committed
// tree: what is made on top of it gets a copy of each file that it changes (overlayfs)
// or of all files (native), and all other mounts of it are read-only. A tree being
// written that has no parent is the one place where files are written as they are.
// So whoever makes it keeps two rules:
//
//   - A file that was linked is not written any more, nor are its mode, owner, times
//     or attributes set.
//   - Only a file is linked that has one name in the earlier tree and one in the new.
//     Then trees that share a file have it under the same path and no other, so that
//     no merge of them has two names of one file, which had been two files.
//
// The earlier tree's file gets another time of change and number of links.
type Linker struct {
	from     *Ref
	mounted  func() error
	old, new *os.File // the directories
	bytes    atomic.Int64
}

// linked is what a tree shares with an earlier one.
type linked struct {
	From  string `json:"from"` // the record's ID
	Bytes int64  `json:"bytes"`
}

// LinkFrom returns what links files of m to those of from, which is borrowed. It is
// the caller's, who closes it before m is committed. It may be called once.
//
// Errors: ErrNoLinks, unless both are without a parent and on the disk as plain
// directories of one file system; ErrReleased.
func (m *Mutable) LinkFrom(ctx context.Context, from *Ref) (_ *Linker, err error) {
	rec, err := from.use()
	if err != nil {
		return nil, err
	}
	s := m.s
	if rec == nil || from.s != s || m.parent != nil || rec.facts.Kind != kindCommitted || rec.parent() != nil {
		return nil, fmt.Errorf("tree %s from tree %s: %w", m.id, from.ID(), ErrNoLinks)
	}
	l := &Linker{from: from.Clone()}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	ctx = s.Context(ctx)
	mounts, err := s.active(ctx, m.key, false)
	if err != nil {
		return nil, err
	}
	if l.new, err = s.plainDir(mounts); err != nil {
		return nil, err
	}
	if mounts, l.mounted, err = s.mountsOf(ctx, rec); err != nil {
		return nil, err
	}
	if l.old, err = s.plainDir(mounts); err != nil {
		return nil, err
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	if m.done || m.links != nil {
		return nil, fmt.Errorf("tree %s being written: %w", m.id, ErrReleased)
	}
	m.links = l
	return l, nil
}

// plainDir opens the directory that mounts show as it is.
func (s *Store) plainDir(mounts []mount.Mount) (*os.File, error) {
	if len(mounts) != 1 || mounts[0].Type != "bind" && mounts[0].Type != "rbind" {
		return nil, fmt.Errorf("it is mounted as %v: %w", mounts, ErrNoLinks)
	}
	dir := mounts[0].Source
	if !strings.HasPrefix(dir, filepath.Join(s.root, s.back.name, "snapshots")+"/") {
		return nil, fmt.Errorf("it is at %s: %w", dir, ErrNoLinks)
	}
	return os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// LinkDir is a directory of both trees.
type LinkDir struct {
	of       *Linker
	old, new int
}

// Dir opens a directory that is in both trees; nil if it is not. It may be called
// concurrently, until Close. The LinkDir is the caller's, who closes it before. No symbolic
// link is followed.
func (l *Linker) Dir(path string) *LinkDir {
	old, err := beneath(l.old, path)
	if err != nil {
		return nil
	}
	to, err := beneath(l.new, path)
	if err != nil {
		_ = unix.Close(old) // a path
		return nil
	}
	return &LinkDir{l, old, to}
}

// Link makes name in the directory, which is not there yet, a hard link to what it is in the
// earlier tree, if that is a regular file that same is true of. If it returns false nothing
// was made: the file has to be copied. A nil *LinkDir links nothing. It may be called
// concurrently, until Close.
func (d *LinkDir) Link(name string, same func(*unix.Stat_t) bool) bool {
	if d == nil || name != filepath.Base(name) {
		return false
	}
	var st unix.Stat_t
	// Nobody changes the earlier tree: what is looked at is what is linked.
	if err := unix.Fstatat(d.old, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || !same(&st) {
		return false
	}
	// Files have limits of their links; whatever else is in the way shows when the file is
	// copied.
	if err := unix.Linkat(d.old, name, d.new, name, 0); err != nil {
		return false
	}
	d.of.bytes.Add(st.Blocks * 512)
	return true
}

// Close closes the directory.
func (d *LinkDir) Close() error {
	if d == nil {
		return nil
	}
	return errors.Join(unix.Close(d.old), unix.Close(d.new))
}

// beneath opens a directory below another: see openat2(2).
func beneath(dir *os.File, path string) (int, error) {
	return unix.Openat2(int(dir.Fd()), path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
}

// Close gives back what a Linker holds.
func (l *Linker) Close() error {
	var errs []error
	for _, dir := range []*os.File{l.old, l.new} {
		if dir != nil {
			errs = append(errs, dir.Close())
		}
	}
	if l.mounted != nil {
		errs = append(errs, l.mounted())
	}
	return errors.Join(append(errs, l.from.Release(context.Background()))...)
}

// linked says what a tree being written shares; nil if it is nothing. The caller of
// LinkFrom is done.
func (m *Mutable) linked() *linked {
	if m.links == nil || m.links.bytes.Load() == 0 {
		return nil
	}
	return &linked{From: m.links.from.ID(), Bytes: m.links.bytes.Load()}
}
