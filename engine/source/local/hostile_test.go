package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tonistiigi/fsutil/types"
	"golang.org/x/sys/unix"
)

func plainFile(path, linkname string, mode fs.FileMode) *types.Stat {
	return &types.Stat{Path: path, Linkname: linkname, Mode: uint32(mode), Size: 1, ModTime: 5e9}
}

func folder(path string) *types.Stat {
	return &types.Stat{Path: path, Mode: uint32(fs.ModeDir | 0o755)}
}

func symlink(path, target string, xattrs map[string][]byte) *types.Stat {
	return &types.Stat{Path: path, Linkname: target, Mode: uint32(fs.ModeSymlink | 0o777), Xattrs: xattrs}
}

// Whatever a client sends, a tree that was made before stays what it is, and nothing is
// written anywhere else: the tree that comes of it is what its key says, or there is none.
func TestHostileSender(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	files(t, outside, map[string]string{"victim": "mine"})
	for name, c := range map[string]struct {
		entries []*types.Stat
		wants   string // of the error; "" for none
	}{
		"a link with other attributes": {entries: []*types.Stat{folder("d"), plainFile("d/a", "", 0o644),
			{Path: "e", Linkname: "d/a", Mode: 0o4777, Uid: 7, Gid: 7, ModTime: 9e9, Size: 77, Xattrs: map[string][]byte{"user.x": []byte("y")}}}},
		"a link to a link":               {entries: []*types.Stat{folder("d"), plainFile("d/a", "", 0o644), plainFile("d/b", "d/a", 0o600), plainFile("d/c", "d/b", 0o777)}},
		"a link to itself":               {entries: []*types.Stat{plainFile("a", "a", 0o644)}},
		"a link to what is not sent":     {entries: []*types.Stat{plainFile("e", "d/a", 0o644)}},
		"a link out of it":               {entries: []*types.Stat{plainFile("e", victim, 0o666)}},
		"a link up":                      {entries: []*types.Stat{plainFile("e", "../../../../../../../.."+victim, 0o666)}},
		"a link to a folder":             {entries: []*types.Stat{folder("d"), plainFile("e", "d", 0o644)}},
		"a link through a symlink":       {entries: []*types.Stat{symlink("d", outside, nil), plainFile("e", "d/victim", 0o666)}},
		"a link to a symlink":            {entries: []*types.Stat{symlink("d", victim, nil), plainFile("e", "d", 0o666)}},
		"a link to a pipe":               {entries: []*types.Stat{{Path: "d", Mode: uint32(fs.ModeNamedPipe | 0o600)}, plainFile("e", "d", 0o666)}},
		"other attributes":               {entries: []*types.Stat{folder("d"), {Path: "d/a", Mode: uint32(fs.ModeSetuid | 0o777), Uid: 5, Size: 1, ModTime: 5e9}}},
		"less bytes than it says":        {entries: []*types.Stat{folder("d"), {Path: "d/a", Mode: 0o644, Size: 1 << 40, ModTime: 5e9}}},
		"more bytes than it says":        {entries: []*types.Stat{folder("d"), {Path: "d/a", Mode: 0o644, ModTime: 5e9}, {Path: "d/large", Mode: 0o644, Size: 3}}},
		"a size below zero":              {entries: []*types.Stat{{Path: "a", Mode: 0o644, Size: -1}}},
		"a symlink in place of a folder": {entries: []*types.Stat{symlink("d", outside, nil)}},
		"a file below a symlink":         {entries: []*types.Stat{symlink("d", outside, nil), plainFile("d/victim", "", 0o644)}, wants: "not the directory"},
		"a folder, then a symlink":       {entries: []*types.Stat{folder("d"), symlink("d", outside, nil), plainFile("d/victim", "", 0o644)}, wants: "exist"},
		"a symlink, then a folder":       {entries: []*types.Stat{symlink("d", outside, nil), folder("d"), plainFile("d/victim", "", 0o644)}, wants: "exist"},
		"a file twice":                   {entries: []*types.Stat{plainFile("a", "", 0o644), plainFile("a", "", 0o644)}, wants: "exist"},
		"a symlink with attributes":      {entries: []*types.Stat{symlink("d", victim, map[string][]byte{"user.x": []byte("y"), "security.capability": []byte("z")})}},
		"notes of overlayfs":             {entries: []*types.Stat{{Path: "d", Mode: uint32(fs.ModeDir | 0o755), Xattrs: map[string][]byte{"trusted.overlay.opaque": []byte("y"), "user.overlay.opaque": []byte("y")}}}},
		"a deleted file of overlayfs":    {entries: []*types.Stat{{Path: "d", Mode: uint32(fs.ModeDevice | fs.ModeCharDevice)}}, wants: "deleted file"},
		"above":                          {entries: []*types.Stat{plainFile("../victim", "", 0o644)}, wants: "not the directory"},
		"the folder above":               {entries: []*types.Stat{folder("..")}, wants: "cannot be"},
		"the root":                       {entries: []*types.Stat{symlink(".", outside, nil)}, wants: ""},
		"an absolute path":               {entries: []*types.Stat{plainFile(victim, "", 0o644)}, wants: "cannot be"},
		"a zero in a path":               {entries: []*types.Stat{plainFile("a\x00b", "", 0o644)}, wants: "cannot be"},
		"a path without its folder":      {entries: []*types.Stat{plainFile("x/a", "", 0o644)}, wants: "not the directory"},
		"an unknown type":                {entries: []*types.Stat{{Path: "a", Mode: uint32(fs.ModeSymlink | fs.ModeDir)}}, wants: "unknown type"},
		"a file that never comes whole":  {entries: []*types.Stat{folder("d"), plainFile("d/never", "", 0o644)}, wants: "not sent all"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			s := b.sends("s", "key")
			s.data = map[string]string{"d/a": "1"}
			s.entries = []*types.Stat{folder("d"), plainFile("d/a", "", 0o644), plainFile("e", "", 0o644)}
			s.data["e"] = "2"
			before := b.make("s", nil)
			b.intact(before)

			s.entries = c.entries
			for _, p := range []string{"a", "d/b", "d/c", "d/victim", "x/a"} {
				s.data[p] = "3"
			}
			s.data["d/large"] = strings.Repeat("x", 3*small)
			i := b.instance("s", nil)
			_, _, err := i.CacheKey(t.Context(), 0)
			switch {
			case c.wants != "":
				check.Says(t, err, c.wants)
			case err == nil && len(i.read.found) > 0:
				b.checked(i, nil)
			}
			b.intact(before)
			check.Equal(t, "inodes", len(b.inodes(before.ref)), 2)
			untouched(t, victim)

			// What failed is no harm to who comes next.
			s.entries = []*types.Stat{folder("d"), plainFile("d/a", "", 0o600)}
			b.intact(b.make("s", nil))
			b.intact(before)
		})
	}
}

// untouched sees that a file of the machine is as it was.
func untouched(t *testing.T, path string) {
	t.Helper()
	dt, err := os.ReadFile(path)
	check.OK(t, err)
	var st unix.Stat_t
	check.OK(t, unix.Lstat(path, &st))
	n, err := unix.Llistxattr(path, nil)
	check.OK(t, err)
	check.Equal(t, "file", fmt.Sprintf("%s %o %d %d %d", dt, st.Mode, st.Uid, st.Nlink, n), fmt.Sprintf("mine %o 0 1 0", unix.S_IFREG|0o644))
	list, err := os.ReadDir(filepath.Dir(path))
	check.OK(t, err)
	check.Equal(t, "files beside it", len(list), 1)
}

// A client that goes away while it sends leaves nothing, and nothing less.
func TestSenderFails(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	files(t, dir, map[string]string{"a": "1", "b": strings.Repeat("x", 3*small)})
	s := b.sends("s", "key")
	s.is(t, dir)
	before := b.make("s", nil)
	count := b.records(t)
	files(t, dir, map[string]string{"a": "2", "b": strings.Repeat("y", 3*small)})
	s.is(t, dir)
	s.fails = errors.New("gone")
	_, _, err := b.instance("s", nil).CacheKey(t.Context(), 0)
	check.Says(t, err, "gone")
	check.Equal(t, "records", b.records(t), count)
	b.intact(before)
	s.fails = nil
	b.intact(b.make("s", nil))
	check.Equal(t, "sent", fmt.Sprint(s.asked), "[a b]")
}

// records is how many trees the store has, and how many are mounted.
func (b *bench) records(t *testing.T) string {
	t.Helper()
	all, err := b.st.Du(context.Background())
	check.OK(t, err)
	mounts, err := os.ReadDir(filepath.Join(b.st.Root(), "mounts"))
	check.OK(t, err)
	return fmt.Sprint(len(all), len(mounts))
}

var _ session.Arrival = (*arrival)(nil)
