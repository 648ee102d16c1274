package git_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/source/git"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
)

func TestParseRefuses(t *testing.T) {
	e := sourcetest.New(t)
	src := newSource(t, e)
	with := func(id string, attrs ...string) *pb.SourceOp {
		o := &pb.SourceOp{Identifier: id, Attrs: map[string]string{}}
		for i := 0; i < len(attrs); i += 2 {
			o.Attrs[attrs[i]] = attrs[i+1]
		}
		return o
	}
	for _, c := range []struct {
		op   *pb.SourceOp
		says string
	}{
		{with("git://"), "no host"},
		{with("git://h/%zz"), "cannot be read"},
		{with("git://h/r#--upload-pack=x"), "no name"},
		{with("git://h/r#a b"), "no name"},
		{with("git://h/r#a..b"), "no name"},
		{with("git://h/r#a^{}"), "no name"},
		{with("git://h/r#refs/heads/*"), "no name"},
		{with("git://h/r#a@{1}"), "no name"},
		{with("git://h/r#a:../b"), "climbs out"},
		{with("git://h/r#a:b/../../c"), "climbs out"},
		{with("git://-oProxyCommand=x/r"), "no host"},
		{with("git://h/r", pb.AttrFullRemoteURL, "ssh://-oProxyCommand=x/r"), "no host"},
		{with("git://h/r", pb.AttrFullRemoteURL, "https://other/r"), "another repository"},
		{with("git://h/r", pb.AttrFullRemoteURL, "https://h/other"), "another repository"},
		{with("git://h/r", pb.AttrFullRemoteURL, "https://user:hunter2@h/%zz"), "cannot be read"},
		{with("git://h/r", pb.AttrGitChecksum, "xyz"), "hexadecimal"},
		{with("git://h/r", pb.AttrGitMTime, "now"), "checkout or commit"},
		{with("git://h/r", pb.AttrGitSignatureVerifyRequireSignedTag, "true"), "no keys"},
		{with("git://h/r", pb.AttrGitSignatureVerifyPubKey, strings.Repeat("x", 5<<20)), "the public keys have"},
		{with("git://h/r", pb.AttrGitBundle, "x"), "should begin with"},
		{with("git://h/r", pb.AttrGitBundle, "oci-layout+blob://x@sha256:"+strings.Repeat("a", 64)), "requires git.checksum"},
		{with("git://h/r", pb.AttrOCILayoutStoreID, "x"), "there is none"},
		{with("git://h/r#main:dir", pb.AttrGitCheckoutBundle, "true"), "incompatible"},
		{with("git://h/r", pb.AttrGitCheckoutBundle, "true", pb.AttrKeepGitDir, "true"), "incompatible"},
		{with("git://h/r", "git.new", "x"), "unknown"},
	} {
		_, err := src.Parse(c.op, nil)
		wantError(t, err, c.says)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v shows a password", err)
		}
	}
	for _, o := range []*pb.SourceOp{
		with("git://github.com/a/b.git#main:dir"), with("git://git@github.com:a/b.git"),
		with("git://github.com/a/b", pb.AttrFullRemoteURL, "git@github.com:a/b.git", pb.AttrGitAdvice, "true"),
		with("git://github.com/a/b", pb.AttrFullRemoteURL, "https://x:y@github.com/a/b.git"),
		with("git://h/r#feature/x+y_z.1"),
	} {
		if _, err := src.Parse(o, nil); err != nil {
			t.Errorf("%v: %v", o, err)
		}
	}
}

func TestPasswordsAreNotShown(t *testing.T) {
	for full, want := range map[string]string{
		"https://user:hunter2@h/r.git": "https://h/r.git#main",
		"https://hunter2@h/r.git":      "https://h/r.git#main",
		"ssh://user:hunter2@h/r.git":   "ssh://user@h/r.git#main",
		"git@h:r.git":                  "git@h:r.git#main",
	} {
		op := &pb.SourceOp{Identifier: "git://h/r.git#main", Attrs: map[string]string{pb.AttrFullRemoteURL: full}}
		if got := git.Shown(t, op); got != want {
			t.Errorf("%s is shown as %s, want %s", full, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("h/r.git#main:dir", "https://u:p@h/r.git", "abc123")
	f.Add("git@h:r.git#-x", "ssh://-o/x", "")
	f.Fuzz(func(t *testing.T, id, full, sum string) {
		op := &pb.SourceOp{Identifier: "git://" + id, Attrs: map[string]string{pb.AttrFullRemoteURL: full, pb.AttrGitChecksum: sum}}
		git.CheckParsed(t, op)
	})
}

func FuzzListed(f *testing.F) {
	object := strings.Repeat("a", 40)
	f.Add(object+"\trefs/heads/main\n"+object+"\trefs/tags/x^{}\n", "main")
	f.Add("ref: refs/heads/main\tHEAD\n"+object+"\tHEAD\n", "")
	f.Fuzz(func(t *testing.T, out, ref string) {
		if !strings.HasPrefix(ref, "-") {
			git.CheckListed(t, out, ref)
		}
	})
}

// What is kept is mended, or fetched anew.
func TestDamage(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", strings.Repeat("one\n", 100))
	r.write("g", "g")
	r.commit("one")
	src := newSource(t, e)
	for name, damage := range map[string]func(dir string) error{
		"half":     func(dir string) error { return os.RemoveAll(filepath.Join(dir, "objects")) },
		"no HEAD":  func(dir string) error { return os.Remove(filepath.Join(dir, "HEAD")) },
		"bad HEAD": func(dir string) error { return os.WriteFile(filepath.Join(dir, "HEAD"), []byte("x"), 0o644) },
		"locks": func(dir string) error {
			for _, l := range []string{"objects/pack/tmp_pack_x", "shallow.lock", "packed-refs.lock", "refs/tenon/" + r.git("rev-parse", "HEAD") + ".lock"} {
				if err := os.WriteFile(filepath.Join(dir, l), nil, 0o644); err != nil {
					return err
				}
			}
			return nil
		},
		"no packs": func(dir string) error {
			files, err := filepath.Glob(filepath.Join(dir, "objects/pack/*"))
			if err == nil && len(files) == 0 {
				t.Error("nothing to damage")
			}
			for _, f := range files {
				err = errors.Join(err, os.Remove(f))
			}
			return err
		},
	} {
		solve(t, e, src, srv.op("r.git", "#main"))
		bare, err := filepath.Glob(e.Store.Path("git") + "/*")
		if err != nil || len(bare) != 1 {
			t.Fatal(bare, err)
		}
		if err := damage(bare[0]); err != nil {
			t.Fatal(err)
		}
		if name == "locks" {
			r.write("f", "locks")
			r.commit("locks")
		}
		key, ref, err := sourcetest.Solve(e.Build(t, local.Options{}), t, src, srv.op("r.git", "#main"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if half, err := filepath.Glob(bare[0] + "/objects/pack/tmp_*"); err != nil || len(half) != 0 {
			t.Errorf("%s: %v, %v", name, half, err)
		}
		if files := sourcetest.Files(t, ref); files["g"].Text != "g" {
			t.Errorf("%s: %q: %v", name, key, files)
		}
		// What a process that died has left.
		if err := os.MkdirAll(e.Store.Path("git", "tmp-old"), 0o755); err != nil {
			t.Fatal(err)
		}
		src = newSource(t, e)
		if _, err := os.Stat(e.Store.Path("git", "tmp-old")); err == nil {
			t.Error("old temporary folders stay")
		}
	}
}

// A plain web server without git's backend.
func TestDumbServer(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", "one")
	one := r.commit("one")
	r.write("f", "two")
	r.commit("two")
	r.git("update-server-info")
	dumb := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(r.dir, ".."))))
	t.Cleanup(dumb.Close)
	src := newSource(t, e)
	for ref, text := range map[string]string{"main": "two", one: "one"} {
		o := &pb.SourceOp{
			Identifier: fmt.Sprintf("git://%s/r.git/.git#%s", strings.TrimPrefix(dumb.URL, "http://"), ref),
			Attrs:      map[string]string{pb.AttrFullRemoteURL: dumb.URL + "/r.git/.git"},
		}
		_, files := solve(t, e, src, o)
		has(t, files, map[string]string{"f": text})
	}
}

func TestPassingFailures(t *testing.T) {
	e, srv := sourcetest.New(t), serve(t)
	r := srv.repo(t, "r.git")
	r.write("f", "one")
	r.commit("one")
	for _, fail := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		n := 0
		srv.change(func() {
			srv.before = func(w http.ResponseWriter, r *http.Request) bool {
				if n++; n == 1 || n == 4 {
					fail(w, r)
					return true
				}
				return false
			}
		})
		if err := os.RemoveAll(e.Store.Path("git")); err != nil {
			t.Fatal(err)
		}
		_, files := solve(t, e, newSource(t, e), srv.op("r.git", "#main"))
		has(t, files, map[string]string{"f": "one"})
	}
	srv.change(func() {
		srv.before = func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
	})
	srv.requests()
	fails(t, e, newSource(t, e), srv.op("r.git", "#main"), "502")
	if n := srv.requests(); n != 4 {
		t.Errorf("asked %d times", n)
	}
}
