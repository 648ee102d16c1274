package filetrees

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/treediff"
	"github.com/tenonbuild/tenon/internal/regular"
)

const (
	rootsDir = "roots"
	dirsDir  = "dirs"
	// maxFile is how large a file may be: a directory with a million names in it.
	maxFile = 256 << 20
)

// Store is trees that are kept below a folder. It may be used by several processes at once.
type Store struct{ dir string }

// In returns the trees below a folder, which is made when the first tree is kept.
func In(dir string) *Store { return &Store{dir} }

func (s *Store) root(name digest.Digest) string {
	return filepath.Join(s.dir, rootsDir, name.Encoded())
}

// canonical is a name whose algorithm is the canonical one: a keeper may put a word of its own in
// its place.
func canonical(name digest.Digest) (digest.Digest, error) {
	_, encoded, _ := strings.Cut(string(name), ":")
	plain := digest.NewDigestFromEncoded(digest.Canonical, encoded)
	if err := plain.Validate(); err != nil {
		return "", fmt.Errorf("tree %q: %w", name, err)
	}
	return plain, nil
}

func (s *Store) sub(sum contenthash.Sum) string {
	return filepath.Join(s.dir, dirsDir, hex.EncodeToString(sum[:]))
}

// Put keeps a tree, unless there is one of that name. The tree is borrowed, its names are in
// order, and it must not change.
func (s *Store) Put(name digest.Digest, root *contenthash.Node) error {
	name, err := canonical(name)
	if err != nil {
		return err
	}
	if there(s.root(name)) {
		return nil
	}
	for _, sub := range []string{rootsDir, dirsDir} {
		if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o700); err != nil {
			return err
		}
	}
	top, err := encode(root, func(e encoded) error { return write(s.sub(e.sum), e.listing) })
	if err != nil {
		return err
	}
	return write(s.root(name), top.listing)
}

// there says whether there is a file, which is as if it were new from then on: see Keep.
func there(path string) bool {
	now := time.Now()
	return os.Chtimes(path, now, now) == nil
}

// write writes a file that is not there yet.
func write(path string, listing []byte) error {
	if there(path) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(seal(listing))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Tree returns a tree. Its directories are read when they are looked into.
func (s *Store) Tree(name digest.Digest) (treediff.Tree, error) {
	name, err := canonical(name)
	if err != nil {
		return nil, err
	}
	list, err := s.read(s.root(name))
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w", name, err)
	}
	return &dir{store: s, entry: contenthash.Entry{Kind: contenthash.Dir, Mode: 0o755}, children: list, loaded: true, top: true}, nil
}

func (s *Store) read(path string) ([]*dir, error) {
	b, err := regular.Read(path, maxFile)
	if err != nil {
		return nil, err
	}
	listing, err := open(b)
	if err != nil {
		return nil, err
	}
	return s.decode(listing)
}

// Compare says how a tree became another. An error says that one of them is not kept whole.
func (s *Store) Compare(ctx context.Context, old, now digest.Digest) (*treediff.Diff, error) {
	a, err := s.Tree(old)
	if err != nil {
		return nil, err
	}
	b, err := s.Tree(now)
	if err != nil {
		return nil, err
	}
	return treediff.Compare(ctx, a, b, treediff.Options{Renames: true})
}

// Keep removes all trees but those of a list and those that were put since a time, and the
// directories that none of them has.
func (s *Store) Keep(names []digest.Digest, since time.Time) error {
	stay := map[string]bool{}
	entries, err := os.ReadDir(filepath.Join(s.dir, rootsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && !fi.ModTime().Before(since) {
			names = append(names, digest.NewDigestFromEncoded(digest.Canonical, e.Name()))
		}
	}
	for _, name := range names {
		name, err := canonical(name)
		if err != nil {
			continue
		}
		list, err := s.read(s.root(name))
		if err != nil {
			continue // it is not there, or of no use
		}
		stay[s.root(name)] = true
		s.mark(list, stay)
	}
	var errs []error
	for _, sub := range []string{rootsDir, dirsDir} {
		at := filepath.Join(s.dir, sub)
		entries, err := os.ReadDir(at)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			fi, err := e.Info()
			if path := filepath.Join(at, e.Name()); !stay[path] && err == nil && fi.ModTime().Before(since) {
				errs = append(errs, os.Remove(path))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Store) mark(list []*dir, stay map[string]bool) {
	for _, d := range list {
		switch {
		case d.entry.Kind != contenthash.Dir:
		case d.loaded:
			s.mark(d.children, stay)
		case !stay[s.sub(d.sum)]:
			stay[s.sub(d.sum)] = true
			if below, err := s.read(s.sub(d.sum)); err == nil {
				s.mark(below, stay)
			}
		}
	}
}
