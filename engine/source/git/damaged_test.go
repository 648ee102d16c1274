package git_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/internal/check"
)

// kept is where what is kept of the only repository is.
func kept(t *testing.T, e *sourcetest.Env) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(e.Store.Path("git"), "*"))
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	return all[0]
}

// plant writes a single object of a repository into another.
func plant(t *testing.T, from *repo, to, kind, object string) {
	t.Helper()
	read := exec.Command("git", "cat-file", kind, object)
	read.Dir = from.dir
	dt, err := read.Output()
	if err != nil {
		t.Fatal(err)
	}
	write := exec.Command("git", "--git-dir", to, "hash-object", "-t", kind, "-w", "--stdin")
	write.Stdin = strings.NewReader(string(dt))
	if err := write.Run(); err != nil {
		t.Fatal(err)
	}
}

// A fetch that broke off may have left a commit without its files, which is no reason
// for the commit never to be had again.
func TestPartOfACommit(t *testing.T) {
	for _, kinds := range [][]string{{"commit"}, {"commit", "tree"}} {
		for _, keep := range []string{"", "true"} {
			e := sourcetest.New(t)
			src := newSource(t, e)
			s := serve(t)
			r := s.repo(t, "r")
			r.write("a", "1")
			r.commit("one")
			solve(t, e, src, s.op("r", "", pb.AttrKeepGitDir, keep))
			r.write("a", "2")
			two := r.commit("two")
			for _, kind := range kinds {
				plant(t, r, kept(t, e), kind, two+"^{"+kind+"}")
			}
			_, files := solve(t, e, src, s.op("r", "", pb.AttrKeepGitDir, keep))
			has(t, files, map[string]string{"a": "2"})
		}
	}
}

// What is fetched is there whole or not at all: as packs.
func TestFetchedAsPacks(t *testing.T) {
	e := sourcetest.New(t)
	src := newSource(t, e)
	s := serve(t)
	r := s.repo(t, "r")
	r.write("a", "1")
	r.commit("one")
	solve(t, e, src, s.op("r", ""))
	loose, err := filepath.Glob(filepath.Join(kept(t, e), "objects", "??"))
	if err != nil || len(loose) != 0 {
		t.Errorf("single objects: %v, %v", loose, err)
	}
}

// Whatever is in the place of one of git's files, nothing waits for it: what is kept is
// thrown away, and fetched anew.
func TestDamagedFilesOfARepository(t *testing.T) {
	e := sourcetest.New(t)
	src := newSource(t, e)
	s := serve(t)
	r := s.repo(t, "r")
	r.write("a", "a")
	r.commit("one")
	solve(t, e, src, s.op("r", ""))
	dir, sound := kept(t, e), filepath.Join(t.TempDir(), "sound")
	check.OK(t, os.CopyFS(sound, os.DirFS(dir)))
	r.write("b", "b")
	r.commit("two")
	kinds := map[string]func(path string) error{
		"pipe":             func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link to a device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"file":             func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
		"too large": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<33))
		},
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	}
	for name, some := range map[string]string{
		"HEAD": "link to a device, too large", "config": "", "shallow": "", "packed-refs": "too large", "tenon-remote": "too large",
		"refs": "", "refs/tenon": "link to a device", "refs/tenon/*": "",
		"objects": "", "objects/pack": "link to a device", "objects/pack/*.pack": "too large", "objects/pack/*.idx": "too large",
	} {
		for kind, do := range kinds {
			if !strings.Contains("pipe, file, directory, "+some, kind) {
				continue // much as others are
			}
			t.Run(strings.ReplaceAll(name, "/", "-")+"/"+kind, func(t *testing.T) {
				check.OK(t, errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(sound))))
				path := filepath.Join(dir, name)
				if found, err := filepath.Glob(path); err == nil && len(found) > 0 {
					path = found[0]
				} else if strings.Contains(name, "*") {
					t.Fatalf("there is no %s", name)
				}
				check.OK(t, errors.Join(os.RemoveAll(path), do(path)))
				_, files := solve(t, e, src, s.op("r", ""))
				has(t, files, map[string]string{"a": "a", "b": "b"})
				_, err := e.Store.Du(t.Context())
				check.OK(t, err)
			})
		}
	}
}
