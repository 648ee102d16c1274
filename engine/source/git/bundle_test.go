package git_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/source/blob"
	"github.com/tenonbuild/tenon/engine/source/git"
	"github.com/tenonbuild/tenon/engine/source/internal/sourcetest"
	"github.com/tenonbuild/tenon/internal/check"
)

// blobs are what can be had by digest.
type blobs map[digest.Digest]string

func (b blobs) open(_ context.Context, l blob.Locator) (io.ReadCloser, error) {
	text, ok := b[l.Digest]
	if !ok {
		return nil, errors.New("no such blob")
	}
	return io.NopCloser(bytes.NewReader([]byte(text))), nil
}

// add returns the locator of a blob.
func (b blobs) add(text string) string {
	d := digest.FromString(text)
	b[d] = text
	return "oci-layout+blob://lent@" + d.String()
}

func (b blobs) source(t *testing.T, e *sourcetest.Env) *git.Source {
	t.Helper()
	s, err := git.New(git.Options{Store: e.Store, Sessions: e.Sessions, Wait: time.Millisecond, Blob: b.open})
	check.OK(t, err)
	return s
}

// history is a repository with commits of which no other is known.
func history(t *testing.T, srv *server, init ...string) (r *repo, first, last string) {
	t.Helper()
	r = srv.repo(t, "r")
	if len(init) > 0 {
		check.OK(t, os.RemoveAll(filepath.Join(r.dir, ".git")))
		r.git(append([]string{"init", "--quiet", "--initial-branch=main"}, init...)...)
	}
	r.write("f", "one")
	first = r.commit("one")
	r.write("f", "two")
	last = r.commit("two")
	r.git("tag", "-a", "v1", "-m", "v1", first)
	return r, first, last
}

// A bundle that is made of a ref has all its history and its name, and serves in place of
// the remote: the same trees, by the same keys, and nobody is asked.
func TestBundles(t *testing.T) {
	for _, init := range [][]string{nil, {"--object-format=sha256"}} {
		e, all, srv := sourcetest.New(t), blobs{}, serve(t)
		_, first, last := history(t, srv, init...)
		src := all.source(t, e)
		for _, c := range []struct{ fragment, commit, text, ref string }{
			{"#main", last, "two", "refs/heads/main"},
			{"#" + last, last, "two", "refs/heads/main"},
			{"", last, "two", "refs/heads/main"},
			{"#v1", first, "one", "refs/tags/v1"},
		} {
			key, files := solve(t, e, src, srv.op("r", c.fragment))
			made, bundle := solve(t, e, src, srv.op("r", c.fragment, pb.AttrGitCheckoutBundle, "true"))
			check.Equal(t, "the key of a bundle", made != key, true)
			at := filepath.Join(t.TempDir(), "bundle")
			check.OK(t, os.WriteFile(at, []byte(bundle["bundle"].Text), 0o600))
			read := &repo{t: t, dir: t.TempDir()}
			read.git("clone", "--quiet", "--bare", "--mirror", at, "mirror")
			read.dir = filepath.Join(read.dir, "mirror")
			check.Equal(t, "commit", read.git("rev-parse", c.ref+"^{commit}"), c.commit)
			check.Equal(t, "the first commit is there", read.git("rev-list", "--max-parents=0", c.ref), first)

			srv.requests()
			locator := all.add(bundle["bundle"].Text)
			attrs := []string{pb.AttrGitBundle, locator, pb.AttrGitChecksum, c.commit}
			again, same := solve(t, e, src, srv.op("r", c.fragment, attrs...))
			check.Equal(t, "key", again, key)
			has(t, same, map[string]string{"f": c.text})
			has(t, files, map[string]string{"f": c.text})
			_, kept := solve(t, e, src, srv.op("r", c.fragment, append(attrs, pb.AttrKeepGitDir, "true")...))
			has(t, kept, map[string]string{"f": c.text})
			check.Equal(t, "requests", srv.requests(), 0)
		}
	}
}

// Objects of a bundle can be looked at, and provenance names it.
func TestBundleIsTold(t *testing.T) {
	e, all, srv := sourcetest.New(t), blobs{}, serve(t)
	_, _, last := history(t, srv)
	src := all.source(t, e)
	_, bundle := solve(t, e, src, srv.op("r", "#main", pb.AttrGitCheckoutBundle, "true"))
	locator := all.add(bundle["bundle"].Text)
	o := srv.op("r", "#main", pb.AttrGitBundle, locator, pb.AttrGitChecksum, last[:10])
	ctx := e.Build(t, local.Options{})
	m, err := src.ResolveMetadata(ctx, o, sourceresolver.Opt{GitOpt: &sourceresolver.ResolveGitOpt{ReturnObject: true}})
	check.OK(t, err)
	check.Equal(t, "ref", m.Git.Ref, "refs/heads/main")
	check.Equal(t, "checksum", m.Git.Checksum, last)
	check.Equal(t, "commit", bytes.Contains(m.Git.CommitObject, []byte("two")), true)
	in, err := src.Parse(o, nil)
	check.OK(t, err)
	c := &provenance.Capture{}
	check.OK(t, in.(source.Describer).Describe(ctx, c))
	check.Equal(t, "bundle", c.Sources.Git[0].Bundle.URL, locator)
}

// What a bundle lacks, or is not, is an error, and nothing of it is kept.
func TestBadBundles(t *testing.T) {
	e, all, srv := sourcetest.New(t), blobs{}, serve(t)
	_, first, last := history(t, srv)
	src := all.source(t, e)
	_, bundle := solve(t, e, src, srv.op("r", "#v1", pb.AttrGitCheckoutBundle, "true"))
	text := bundle["bundle"].Text
	good := all.add(text)
	for _, c := range []struct{ fragment, bundle, checksum, says string }{
		{"#main", good, last, `does not contain "refs/main"`},
		{"#" + last, good, last, "not found in bundle"},
		{"", good, last, "not found in bundle"},
		{"", good, "abcdef", `does not contain "abcdef"`},
		{"#v1", good, last, "expected checksum to match"},
		{"#v1", all.add("no bundle"), first, "bundle"},
		{"#v1", all.add(text[:len(text)-30]), first, "bundle"},
		{"#v1", "oci-layout+blob://lent@" + digest.FromString("none").String(), first, "no such blob"},
	} {
		fails(t, e, src, srv.op("r", c.fragment, pb.AttrGitBundle, c.bundle, pb.AttrGitChecksum, c.checksum), c.says)
	}
	left, err := filepath.Glob(e.Store.Path("git") + "/tmp-*")
	check.OK(t, err)
	check.Equal(t, "left", len(left), 0)
}
