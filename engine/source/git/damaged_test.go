package git_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
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
