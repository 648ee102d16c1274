package git_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/source/git"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/engine/source/internal/trees"
)

func TestRefs(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", "one")
	one := r.commit("one")
	r.git("tag", "light")
	r.git("tag", "-a", "-m", "text", "annotated")
	r.git("branch", "dir/branch")
	r.write("f", "two")
	two := r.commit("two")
	r.git("update-ref", "refs/pull/7/head", one)
	r.git("tag", "both", one)
	r.git("branch", "both", two)
	keys := map[string]string{}
	for _, v0 := range []bool{false, true} {
		srv.change(func() { srv.v0 = v0 })
		src := newSource(t, e)
		for ref, want := range map[string]string{
			"": two, "HEAD": two, "main": two, "refs/heads/main": two, "heads/main": two,
			"light": one, "annotated": one, "refs/tags/annotated": one, "dir/branch": one,
			"pull/7/head": one, "refs/pull/7/head": one,
			"both": two, "tags/both": one,
			one: one, strings.ToUpper(one): one, one[:8]: one, two[:20]: two,
		} {
			key, files := solve(t, e, src, srv.op("r.git", "#"+ref))
			text := map[string]string{one: "one", two: "two"}[want]
			has(t, files, map[string]string{"f": text})
			if k, ok := keys[want]; ok && k != key {
				t.Errorf("%s: key %q, and %q for the same commit", ref, key, k)
			}
			keys[want] = key
		}
		if err := os.RemoveAll(e.Store.Path("git")); err != nil {
			t.Fatal(err)
		}
	}
	if keys[one] == keys[two] || !strings.Contains(keys[one], one) {
		t.Errorf("keys %v", keys)
	}
	src := newSource(t, e)
	fails(t, e, src, srv.op("r.git", "#nothing"), `no branch or tag "nothing"`, "r.git")
	fails(t, e, src, srv.op("r.git", "#abcdef1"), `no branch or tag "abcdef1"`)
	fails(t, e, src, srv.op("r.git", "#"+strings.Repeat("1", 40)), "no commit 1111")
	fails(t, e, src, srv.op("none.git", ""), "none.git")
	srv.repo(t, "empty.git")
	fails(t, e, src, srv.op("empty.git", ""), "no default branch")
}

func TestTree(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077)) // of no importance
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("sub/plain", "plain")
	r.write("sub/run", "#!/bin/sh")
	if err := os.Chmod(filepath.Join(r.dir, "sub/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../outside", filepath.Join(r.dir, "sub/link")); err != nil {
		t.Fatal(err)
	}
	r.write("name with ünïcode\n", "x")
	commit := r.commit("all")
	r.git("checkout", "--quiet", "--orphan", "nothing")
	r.git("rm", "-rq", "--cached", ".")
	r.git("commit", "--quiet", "--allow-empty", "-m", "nothing")
	src := newSource(t, e)
	_, files := solve(t, e, src, srv.op("r.git", "#"+commit, pb.AttrGitMTime, "commit"))
	has(t, files, map[string]string{"sub/plain": "plain", "sub/run": "#!/bin/sh", "sub/link": "../../outside", "name with ünïcode\n": "x"})
	for path, mode := range map[string]fs.FileMode{"sub": fs.ModeDir | 0o755, "sub/plain": 0o644, "sub/run": 0o755} {
		if files[path].Mode != mode {
			t.Errorf("%s has mode %v", path, files[path].Mode)
		}
	}
	_, files = solve(t, e, src, srv.op("r.git", "#nothing"))
	has(t, files, nil)

	key, ref, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, srv.op("r.git", "#"+commit, pb.AttrGitMTime, "commit"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, _ := solve(t, e, src, srv.op("r.git", "#"+commit)); plain == key {
		t.Error("times are no part of the key")
	}
	want := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	err = trees.Read(t.Context(), ref, func(dir string) error {
		return filepath.Walk(dir, func(path string, fi fs.FileInfo, err error) error {
			if err == nil && path != dir && !fi.ModTime().Equal(want) {
				t.Errorf("%s has the time %v", path, fi.ModTime())
			}
			return err
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// A ref is looked up once a build, and a commit is fetched once.
func TestLeastFetched(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", "one")
	one := r.commit("one")
	src := newSource(t, e)
	ctx := e.Build(t, local.Options{})
	first, _, err := sourcetest.Solve(ctx, t, src, srv.op("r.git", "#main"))
	if err != nil {
		t.Fatal(err)
	}
	if n := srv.requests(); n == 0 {
		t.Error("nothing was asked")
	}
	r.write("f", "two")
	r.commit("two")
	again, _, err := sourcetest.Solve(ctx, t, src, srv.op("r.git", "#main"))
	if err != nil || again != first {
		t.Errorf("the branch moved within a build: %q, %q, %v", first, again, err)
	}
	solve(t, e, src, srv.op("r.git", "#"+one))
	if n := srv.requests(); n != 0 {
		t.Errorf("%d requests for what is there", n)
	}
	moved, files := solve(t, e, src, srv.op("r.git", "#main"))
	has(t, files, map[string]string{"f": "two"})
	if moved == first {
		t.Error("the next build does not see that the branch moved")
	}
	// A branch that is rewritten, and one that becomes a folder of branches.
	r.git("checkout", "--quiet", "-b", "a", one)
	solve(t, e, src, srv.op("r.git", "#a"))
	r.git("checkout", "--quiet", "--detach")
	r.git("branch", "-D", "a")
	r.git("branch", "a/b", "main")
	r.git("branch", "-f", "main", one)
	_, files = solve(t, e, src, srv.op("r.git", "#a/b"))
	has(t, files, map[string]string{"f": "two"})
	_, files = solve(t, e, src, srv.op("r.git", "#main"))
	has(t, files, map[string]string{"f": "one"})
}

func TestSubdir(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("top", "top")
	r.write("a/b/f", "deep")
	r.write("a/b/.hidden", "hidden")
	if err := os.Symlink("a", filepath.Join(r.dir, "link")); err != nil {
		t.Fatal(err)
	}
	r.commit("one")
	src := newSource(t, e)
	whole, _ := solve(t, e, src, srv.op("r.git", "#main"))
	for _, dir := range []string{"a/b", "/a/b/", "a//b", "./a/./b"} {
		key, files := solve(t, e, src, srv.op("r.git", "#main:"+dir, pb.AttrKeepGitDir, "true"))
		has(t, files, map[string]string{"f": "deep", ".hidden": "hidden"})
		if key == whole {
			t.Error("the directory is no part of the key")
		}
	}
	fails(t, e, src, srv.op("r.git", "#main:none"), `no directory "none"`)
	fails(t, e, src, srv.op("r.git", "#main:top"), `"top" is no directory`)
	fails(t, e, src, srv.op("r.git", "#main:link/b"), "file or a link")
	fails(t, e, src, srv.op("r.git", "#main:a/../../x"), "climbs out")
}

func TestSubmodules(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	inner := srv.repo(t, "deps/inner.git")
	inner.write("i", "inner")
	pinned := inner.commit("one")
	inner.write("i", "later")
	inner.commit("two")
	mid := srv.repo(t, "deps/mid.git")
	mid.write("m", "mid")
	mid.commit("one")
	mid.submodule("in", "../inner.git", pinned)
	top := srv.repo(t, "top.git")
	top.write("t", "top")
	top.commit("one")
	top.submodule("vendor/mid", srv.URL+"/deps/mid.git", mid.git("rev-parse", "HEAD"))
	src := newSource(t, e)
	whole := map[string]string{"t": "top", "vendor/mid/m": "mid", "vendor/mid/in/i": "inner"}
	for _, v0 := range []bool{false, true} {
		srv.change(func() { srv.v0 = v0 })
		for _, keep := range []string{"false", "true"} {
			_, ref, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, srv.op("top.git", "", pb.AttrKeepGitDir, keep))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for path, f := range sourcetest.Files(t, ref, ".git") {
				if keep == "true" && filepath.Base(path) == ".git" {
					continue // by which the submodule finds its repository
				}
				if filepath.Base(path) != ".gitmodules" && !f.Mode.IsDir() {
					got[path] = f.Text
				}
			}
			for path, text := range whole {
				if got[path] != text {
					t.Errorf("%s is %q", path, got[path])
				}
			}
			if len(got) != len(whole) {
				t.Errorf("there is more than %v: %v", whole, got)
			}
		}
	}
	with, _ := solve(t, e, src, srv.op("top.git", ""))
	without, files := solve(t, e, src, srv.op("top.git", "", pb.AttrGitSkipSubmodules, "true"))
	if files["vendor/mid/m"].Text != "" || files["t"].Text != "top" || with == without {
		t.Errorf("files %v, keys %q and %q", files, with, without)
	}
	// A repository cannot reach into this machine.
	for _, url := range []string{inner.dir, "file://" + inner.dir, "ext::sh -c true"} {
		evil := srv.repo(t, "evil.git")
		evil.submodule("x", url, pinned)
		fails(t, e, src, srv.op("evil.git", ""), "submodules", "not allowed")
		if err := os.RemoveAll(evil.dir); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKeepGitDir(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", "zero")
	r.commit("zero")
	r.write("f", "one")
	one := r.commit("one")
	r.git("tag", "-a", "-m", "text", "v1")
	src := newSource(t, e)
	keys := map[string]bool{}
	for _, ref := range []string{"main", "v1", one} {
		key, ref2, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, srv.op("r.git", "#"+ref, pb.AttrKeepGitDir, "true"))
		if err != nil {
			t.Fatal(err)
		}
		if keys[key] {
			t.Errorf("%s has the key of another: %q", ref, key)
		}
		keys[key] = true
		// Written to by git, so not in place.
		out := t.TempDir()
		err = trees.Read(t.Context(), ref2, func(dir string) error { return os.CopyFS(out, os.DirFS(dir)) })
		if err != nil {
			t.Fatal(err)
		}
		c := &repo{t: t, dir: out}
		for _, q := range []struct{ cmd, want string }{
			{"rev-parse HEAD", one}, {"rev-list --count HEAD", "1"}, {"status --porcelain", ""}, {"show HEAD:f", "one"},
			{"config remote.origin.url", srv.URL + "/r.git"}, {"fsck --no-progress", ""},
		} {
			if got := c.git(strings.Fields(q.cmd)...); got != q.want {
				t.Errorf("%s: git %s says %q, want %q", ref, q.cmd, got, q.want)
			}
		}
		if ref == "v1" {
			if got := c.git("describe"); got != "v1" {
				t.Errorf("git describe says %q", got)
			}
		}
		config, err := os.ReadFile(filepath.Join(out, ".git/config"))
		if err != nil || strings.Contains(string(config), e.Store.Path()) {
			t.Errorf(".git/config is of this machine: %s, %v", config, err)
		}
	}
}

func TestChecksum(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", "one")
	one := r.commit("one")
	r.git("tag", "-a", "-m", "text", "v1")
	tag := r.git("rev-parse", "v1")
	src := newSource(t, e)
	for _, sum := range []string{one, one[:7], tag, strings.ToUpper(one)} {
		solve(t, e, src, srv.op("r.git", "#v1", pb.AttrGitChecksum, sum))
	}
	err := fails(t, e, src, srv.op("r.git", "#v1", pb.AttrGitChecksum, "1234567"), "refs/tags/v1", one, "1234567")
	var sum *git.ChecksumError
	if !errors.As(err, &sum) || sum.Got != one {
		t.Errorf("%+v", sum)
	}
	fails(t, e, src, srv.op("r.git", "#"+one, pb.AttrGitChecksum, "1234567"), one, "1234567")
	srv.requests()
	// By commit the ref is not looked up.
	in, err := src.Parse(srv.op("r.git", "#gone", pb.AttrGitChecksum, one, pb.AttrGitFetchByCommit, "true"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.CacheKey(e.Build(t, local.Options{}), 0); err != nil || srv.requests() != 0 {
		t.Error("the remote was asked, or", err)
	}
	solve(t, e, src, srv.op("r.git", "#gone", pb.AttrGitChecksum, one, pb.AttrGitFetchByCommit, "true"))
	fails(t, e, src, srv.op("r.git", "#gone", pb.AttrGitChecksum, one[:9], pb.AttrGitFetchByCommit, "true"), "whole commit")
}

func TestMetadata(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", "one")
	one := r.commit("one")
	r.git("tag", "-a", "-m", "text", "v1")
	src := newSource(t, e)
	ctx := e.Build(t, local.Options{})
	o := srv.op("r.git", "#v1")
	m, err := src.ResolveMetadata(ctx, o, sourceresolver.Opt{})
	if err != nil {
		t.Fatal(err)
	}
	tag := r.git("rev-parse", "v1")
	if g := m.Git; m.Op != o || g.Ref != "refs/tags/v1" || g.Checksum != tag || g.CommitChecksum != one || g.CommitObject != nil {
		t.Errorf("%+v", g)
	}
	m, err = src.ResolveMetadata(ctx, o, sourceresolver.Opt{GitOpt: &sourceresolver.ResolveGitOpt{ReturnObject: true}})
	if err != nil {
		t.Fatal(err)
	}
	raw := func(kind, object string) string {
		cmd := exec.Command("git", "cat-file", kind, object)
		cmd.Dir = r.dir
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if g := m.Git; string(g.CommitObject) != raw("commit", one) || string(g.TagObject) != raw("tag", tag) {
		t.Errorf("%q, %q", g.CommitObject, g.TagObject)
	}
	// Of the tag's own name, what it is of is found.
	m, err = src.ResolveMetadata(ctx, srv.op("r.git", "#"+tag), sourceresolver.Opt{GitOpt: &sourceresolver.ResolveGitOpt{ReturnObject: true}})
	if err != nil || m.Git.CommitChecksum != one || m.Git.TagObject == nil {
		t.Errorf("%+v, %v", m, err)
	}
	_, err = src.ResolveMetadata(ctx, srv.op("r.git", "#none"), sourceresolver.Opt{})
	wantError(t, err, "none")
	_, err = src.ResolveMetadata(context.Background(), srv.op("r.git", "#-x"), sourceresolver.Opt{})
	wantError(t, err, "no name of a branch")
}
