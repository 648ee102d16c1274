package git_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/engine/source/git"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/engine/store"
)

// repositories returns what du says of those that are kept.
func repositories(t *testing.T, e *sourcetest.Env) (all []store.UsageInfo) {
	t.Helper()
	list, err := e.Store.Du(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range list {
		if u.Type == store.TypeGitRepo {
			all = append(all, u)
		}
	}
	return all
}

// prune prunes repositories, and returns how many went.
func prune(t *testing.T, e *sourcetest.Env, opt store.PruneOptions) (n int) {
	t.Helper()
	opt.Filters = []string{"type==" + store.TypeGitRepo}
	if err := e.Store.Prune(t.Context(), opt, func(store.UsageInfo) { n++ }); err != nil {
		t.Fatal(err)
	}
	return n
}

// Repositories are listed with what they take, and can be pruned; not while one is in
// use.
func TestKeptRepositories(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", "one")
	r.commit("one")
	src := newSource(t, e)
	began := time.Now().Add(-time.Minute)
	solve(t, e, src, srv.op("r.git", ""))
	all := repositories(t, e)
	if len(all) != 1 {
		t.Fatalf("%d repositories: %+v", len(all), all)
	}
	u := all[0]
	if u.Size <= 0 || u.InUse || !strings.Contains(u.Description, srv.URL+"/r.git") || u.LastUsedAt.Before(began) || u.CreatedAt.Before(began) {
		t.Errorf("du says %+v", u)
	}
	if n := prune(t, e, store.PruneOptions{KeepDuration: time.Hour}); n != 0 {
		t.Error("one that was just used was removed")
	}

	// While it is fetched into it is in use, as those are told who look from there.
	r.write("f", "two")
	r.commit("two")
	var seen []store.UsageInfo
	var removed int
	srv.change(func() {
		srv.before = func(_ http.ResponseWriter, req *http.Request) bool {
			if strings.HasSuffix(req.URL.Path, "/git-upload-pack") && len(seen) == 0 {
				if got := repositories(t, e); len(got) == 1 && got[0].InUse {
					seen = got
					removed = prune(t, e, store.PruneOptions{})
				}
			}
			return false
		}
	})
	_, files := solve(t, e, src, srv.op("r.git", ""))
	has(t, files, map[string]string{"f": "two"})
	srv.change(func() { srv.before = nil })
	if len(seen) != 1 || removed != 0 {
		t.Errorf("in use: %+v, %d removed", seen, removed)
	}

	if n := prune(t, e, store.PruneOptions{}); n != 1 || len(repositories(t, e)) != 0 {
		t.Errorf("%d removed", n)
	}
	if left, err := os.ReadDir(e.Store.Path("git")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	_, files = solve(t, e, src, srv.op("r.git", ""))
	has(t, files, map[string]string{"f": "two"})
}

// What many fetches leave is packed anew, and nothing is lost by that.
func TestRepack(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	src, err := git.New(git.Options{Store: e.Store, Sessions: e.Sessions, Wait: time.Millisecond, MaxPacks: 3})
	if err != nil {
		t.Fatal(err)
	}
	var commits []string
	for i := range 6 {
		r.write("f", fmt.Sprint(i))
		commits = append(commits, r.commit("c"))
		_, files := solve(t, e, src, srv.op("r.git", "#"+commits[i]))
		has(t, files, map[string]string{"f": fmt.Sprint(i)})
		packs, err := filepath.Glob(e.Store.Path("git", "*", "objects", "pack", "*.pack"))
		if err != nil || len(packs) == 0 || len(packs) > 3 {
			t.Errorf("after %d fetches there are %d packs, %v", i+1, len(packs), err)
		}
	}
	srv.requests()
	for i, c := range commits {
		_, files := solve(t, e, src, srv.op("r.git", "#"+c))
		has(t, files, map[string]string{"f": fmt.Sprint(i)})
	}
	if n := srv.requests(); n != 0 {
		t.Errorf("what had been fetched was asked for again: %d requests", n)
	}
}
