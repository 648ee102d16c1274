package fileop

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/internal/randtree"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	fscopy "github.com/tonistiigi/fsutil/copy"
	"golang.org/x/sys/unix"
)

// state says all that is in a directory, with what is seen of it from outside.
func state(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	first := map[uint64]string{}
	check.OK(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		check.OK(t, err)
		var st syscall.Stat_t
		check.OK(t, syscall.Lstat(p, &st))
		name := strings.TrimPrefix(p, dir)
		fmt.Fprintf(&b, "%q %o %d:%d rdev %d mtime %v", name, st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim)
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFREG:
			dt, err := os.ReadFile(p)
			check.OK(t, err)
			if first[st.Ino] == "" {
				first[st.Ino] = name
			}
			fmt.Fprintf(&b, " %q is %q", dt, first[st.Ino])
		case syscall.S_IFLNK:
			to, err := os.Readlink(p)
			check.OK(t, err)
			fmt.Fprintf(&b, " -> %q", to)
		}
		value := make([]byte, 10)
		if n, err := unix.Lgetxattr(p, "user.tenon", value); err == nil {
			fmt.Fprintf(&b, " xattr %q", value[:n])
		}
		b.WriteString("\n")
		return nil
	}))
	return b.String()
}

// What is copied several files at a time is what the copier makes.
func TestWideIsTheCopier(t *testing.T) {
	testenv.Root(t)
	then := time.Unix(1_000_000_000, 7)
	for seed := range uint64(40) {
		x := randtree.New(t, rand.New(rand.NewPCG(seed, 0)))
		for range 20 {
			x.Edit()
		}
		check.OK(t, os.WriteFile(x.Root+"/large", make([]byte, 64<<10+1), 0o640))
		check.OK(t, os.WriteFile(x.Root+"/just", make([]byte, 64<<10), 0o640))
		for _, to := range []string{"/", "/new", "/new/below/", "/there", "/link", "/dangling"} {
			for _, change := range []func(*pb.FileActionCopy){
				func(*pb.FileActionCopy) {},
				func(a *pb.FileActionCopy) { a.Timestamp = then.UnixNano() },
				func(a *pb.FileActionCopy) { a.FollowSymlink = true },
			} {
				a := &pb.FileActionCopy{Src: "/", Dest: to, Mode: -1, Timestamp: -1, DirCopyContents: true, CreateDestPath: true}
				change(a)
				owner := &fscopy.User{UID: int(seed % 2 * 5), GID: 6}
				if seed%4 == 0 {
					owner = nil
				}
				var got [2]string
				for i := range got {
					dest := t.TempDir()
					check.OK(t, os.Chmod(dest, 0o755))
					if to != "/" {
						check.OK(t, os.Mkdir(dest+"/there", 0o750))
						check.OK(t, os.Symlink("there", dest+"/link"))
						check.OK(t, os.Symlink("/nowhere", dest+"/dangling"))
					}
					opt := copyOptions(context.Background(), x.Root, dest, a, owner)
					if i == 0 {
						check.OK(t, fscopy.Copy(t.Context(), x.Root, "/", dest, to, opt))
					} else {
						done, err := widely(t.Context(), x.Root, "/", dest, to, a, opt)
						check.OK(t, err)
						check.Equal(t, "done", done, true)
					}
					if a.Timestamp == -1 { // what it is made in has its time from now
						check.OK(t, os.Chtimes(dest, then, then))
						if to == "/new/below/" {
							check.OK(t, os.Chtimes(dest+"/new", then, then))
						}
					} else if to != "/" {
						check.OK(t, os.Chtimes(dest, then, then))
					}
					for _, p := range []string{"/link", "/dangling", "/there"} {
						if p != "/there" || to != "/there" && to != "/link" {
							_ = fscopy.Utimes(dest+p, &then)
						}
					}
					got[i] = state(t, dest)
				}
				if got[0] != got[1] {
					t.Fatalf("seed %d to %s: the copier makes\n%s\nand this\n%s", seed, to, got[0], got[1])
				}
			}
		}
	}
}

// A directory that has something in it, and what is chosen, are for the copier.
func TestNotWide(t *testing.T) {
	testenv.Root(t)
	src := t.TempDir()
	check.OK(t, os.WriteFile(src+"/a", []byte("1"), 0o644))
	for name, change := range map[string]func(a *pb.FileActionCopy){
		"not empty":     func(*pb.FileActionCopy) {},
		"a file":        func(a *pb.FileActionCopy) { a.Src, a.Dest = "/a", "/new" },
		"mode":          func(a *pb.FileActionCopy) { a.Dest, a.Mode = "/new", 0o600 },
		"mode in words": func(a *pb.FileActionCopy) { a.Dest, a.ModeStr = "/new", "go-w" },
		"included":      func(a *pb.FileActionCopy) { a.Dest, a.IncludePatterns = "/new", []string{"a"} },
		"excluded":      func(a *pb.FileActionCopy) { a.Dest, a.ExcludePatterns = "/new", []string{"b"} },
		"as a whole":    func(a *pb.FileActionCopy) { a.Dest, a.DirCopyContents = "/new", false },
	} {
		dest := t.TempDir()
		check.OK(t, os.WriteFile(dest+"/there", nil, 0o644))
		a := &pb.FileActionCopy{Src: "/", Dest: "/", Mode: -1, Timestamp: -1, DirCopyContents: true, CreateDestPath: true}
		change(a)
		done, err := widely(t.Context(), src, a.Src, dest, a.Dest, a, copyOptions(t.Context(), src, dest, a, nil))
		check.OK(t, err)
		check.Equal(t, name, done, false)
	}
}
