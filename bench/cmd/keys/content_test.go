package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/cache"
	"github.com/moby/buildkit/cache/contenthash"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/snapshot"
	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	ours "github.com/tenonbuild/tenon/engine/contenthash"
)

// folder is a directory as BuildKit's contenthash wants it.
type folder struct {
	cache.ImmutableRef
	dir string
}

func (f folder) ID() string                                 { return f.dir }
func (f folder) GetEqualMutable() (cache.RefMetadata, bool) { return nil, false }
func (f folder) GetExternal(string) ([]byte, error)         { return nil, os.ErrNotExist }
func (f folder) SetExternal(string, []byte) error           { return nil }
func (f folder) IdentityMapping() *user.IdentityMapping     { return nil }
func (f folder) mount() ([]mount.Mount, func() error, error) {
	return []mount.Mount{{Type: "bind", Source: f.dir, Options: []string{"rbind", "ro"}}}, func() error { return nil }, nil
}

func (f folder) Mount(context.Context, bool, session.Group) (snapshot.Mountable, error) {
	return bound{f}, nil
}

type bound struct{ f folder }

func (b bound) Mount() ([]mount.Mount, func() error, error) { return b.f.mount() }
func (b bound) IdentityMapping() *user.IdentityMapping      { return nil }

// Of trees by chance, all that is asked of them has BuildKit's digest, or none where
// BuildKit fails.
func TestContentOfBuildKit(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this mounts folders")
	}
	known := 0
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		dir := t.TempDir()
		fill(t, rnd, dir, 3)
		for range 12 {
			p, theirs, opt := question(rnd)
			want, err := contenthash.Checksum(t.Context(), folder{dir: dir}, p, theirs, nil)
			if err != nil {
				want = ""
			}
			got, gotErr := ours.BuildKitDir(t.Context(), dir, p, opt)
			if want != "" {
				known++
			}
			if got != want {
				t.Errorf("seed %d: %s %+v: %s (%v), BuildKit has %s (%v)", seed, p, theirs, got, gotErr, want, err)
			}
		}
	}
	if known < 200 {
		t.Errorf("of no more than %d questions BuildKit has an answer", known)
	}
}

var names = []string{"a", "b", "ab", "a.b", "c", "l", "m", "é", " x"}

// fill puts files, directories and links into a directory.
func fill(t *testing.T, rnd *rand.Rand, dir string, depth int) {
	t.Helper()
	for _, name := range names {
		p := filepath.Join(dir, name)
		var err error
		switch n := rnd.IntN(8); {
		case n < 3:
			mode := []os.FileMode{0o644, 0o600, 0o755, 0o4755}[rnd.IntN(4)]
			if err = os.WriteFile(p, []byte(fmt.Sprint(rnd.IntN(3))), mode); err == nil {
				err = os.Chmod(p, mode)
			}
		case n == 3:
			to := []string{"a", "../a", "/b", "a/b", ".", "none", "/l"}[rnd.IntN(7)]
			err = os.Symlink(to, p)
		case n < 6 && depth > 0:
			if err = os.Mkdir(p, 0o755); err == nil {
				fill(t, rnd, p, depth-1)
				err = os.Chmod(p, []os.FileMode{0o755, 0o700, os.ModeSticky | 0o777}[rnd.IntN(3)])
			}
		}
		if err == nil && rnd.IntN(4) == 0 {
			for _, k := range []string{"user.b", "user.a", "user.ab"}[:rnd.IntN(4)] {
				_ = unix.Lsetxattr(p, k, []byte(fmt.Sprint(rnd.IntN(3))), 0) // not of links, and not in every file system
			}
		}
		if err == nil && rnd.IntN(5) == 0 {
			if err = os.Lchown(p, rnd.IntN(3), 1); os.IsNotExist(err) {
				err = nil
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// question is something to ask about a tree.
func question(rnd *rand.Rand) (string, contenthash.ChecksumOpts, ours.Opt) {
	p := ""
	for range rnd.IntN(4) {
		p += "/" + names[rnd.IntN(len(names))]
	}
	var o ours.Opt
	patterns := func() (list []string) {
		for range rnd.IntN(3) {
			list = append(list, []string{"a", "*b", "a/b", "**/c", "l", "!a", "a*/*", "é"}[rnd.IntN(8)])
		}
		return list
	}
	o.FollowLinks = rnd.IntN(2) == 0
	if rnd.IntN(2) == 0 {
		o.IncludePatterns, o.ExcludePatterns = patterns(), patterns()
	}
	if rnd.IntN(3) == 0 {
		p += "/" + []string{"*", "a*", "?", "[a-c]", "*/b", "a/*"}[rnd.IntN(6)]
		o.Wildcard = true
	}
	if p == "" {
		p = "/"
	}
	return p, contenthash.ChecksumOpts{FollowLinks: o.FollowLinks, Wildcard: o.Wildcard, IncludePatterns: o.IncludePatterns, ExcludePatterns: o.ExcludePatterns}, o
}
