package export_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// What is exported is what was built, file by file, by GNU tar's reading as well.
func TestTreeWhole(t *testing.T) {
	st := openStore(t)
	var want map[string]string
	ref := grow(t, st, nil, "all kinds", func(dir string) {
		everything(t, dir)
		want = describe(t, dir)
	})
	deps := export.Deps{Store: st}
	dir := filepath.Join(t.TempDir(), "made", "by", "it")
	for range 2 { // onto nothing, and onto itself
		mustOutput(t, deps, single(ref), "type=local,privileged-files=true,dest="+dir)
		differ(t, "local", describe(t, dir), ours(want))
	}

	tool := testenv.Tool(t, "tar")
	_, archive := mustOutput(t, deps, single(ref), "-")
	unpacked := t.TempDir()
	cmd := exec.Command(tool, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xp", "-C", unpacked)
	cmd.Stdin = bytes.NewReader(archive)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	differ(t, "tar", describe(t, unpacked), want)
	if _, again := mustOutput(t, deps, single(ref), "-"); !bytes.Equal(archive, again) {
		t.Error("the same tree is not the same archive")
	}
}

// ours is how files are described that belong to who runs the test: a file that
// belonged to another user or group is not run as that one.
func ours(files map[string]string) map[string]string {
	me := fmt.Sprintf("%d:%d", os.Geteuid(), os.Getegid())
	out := map[string]string{}
	for p, d := range files {
		f := strings.SplitN(d, " ", 3) // mode, owner, the rest
		if f[1] != me {
			f[1] = me
			if bare := strings.NewReplacer("u", "", "g", "").Replace(f[0]); bare != f[0] {
				f[0] = "-" + bare
			}
		}
		out[p] = strings.Join(f, " ")
	}
	return out
}

// Other files stay, those of the same name are replaced whatever they are, and
// mode=delete leaves what is in the result only.
func TestLocalOnto(t *testing.T) {
	st := openStore(t)
	ref := grow(t, st, nil, "new", func(dir string) {
		write(t, dir, "keep/new", "new", "same", "new", "was-dir", "file", "was-file/in", "dir", "was-link/in", "dir")
		age(t, dir)
	})
	deps := export.Deps{Store: st}
	dir, outside := t.TempDir(), t.TempDir()
	write(t, outside, "in", "not ours")
	write(t, dir, "keep/old", "old", "same", "old", "was-dir/deep/er", "old", "was-file", "old", "other/x", "old")
	must(t, os.Symlink(outside, filepath.Join(dir, "was-link")))
	must(t, os.Link(filepath.Join(dir, "same"), filepath.Join(dir, "linked")))
	mustOutput(t, deps, single(ref), dir)
	for p, want := range map[string]string{
		"keep/new": "new", "keep/old": "old", "same": "new", "was-dir": "file", "was-file/in": "dir", "was-link/in": "dir",
		"other/x": "old", "linked": "old",
	} {
		if dt, err := os.ReadFile(filepath.Join(dir, p)); err != nil || string(dt) != want {
			t.Errorf("%s: %q, %v, want %q", p, dt, err, want)
		}
	}
	if dt, err := os.ReadFile(filepath.Join(outside, "in")); err != nil || string(dt) != "not ours" {
		t.Errorf("outside: %q, %v", dt, err)
	}

	mustOutput(t, deps, single(ref), "type=local,mode=delete,dest="+dir)
	clean := filepath.Join(t.TempDir(), "clean")
	mustOutput(t, deps, single(ref), clean)
	differ(t, "mode=delete", describe(t, dir), describe(t, clean))
	if _, err := export.New(export.Builtin(deps), export.Request{Type: "local", Dir: "/", Attrs: map[string]string{"mode": "delete"}}); err == nil {
		t.Error("mode=delete of / is not refused")
	}
}

// A result never writes outside of its directory, whatever links are in it, in an
// earlier result, or between the results of two platforms.
func TestLocalStaysInside(t *testing.T) {
	st := openStore(t)
	outside := t.TempDir()
	write(t, outside, "passwd", "root")
	evil := grow(t, st, nil, "evil", func(dir string) {
		must(t, os.Symlink(outside, filepath.Join(dir, "etc")))
		must(t, os.Symlink("../../../../../../../.."+outside, filepath.Join(dir, "up")))
	})
	good := grow(t, st, nil, "good", func(dir string) { write(t, dir, "etc/passwd", "evil", "up/passwd", "evil") })
	deps := export.Deps{Store: st}
	dir := t.TempDir()
	mustOutput(t, deps, single(evil), dir)
	if to, err := os.Readlink(filepath.Join(dir, "etc")); err != nil || to != outside {
		t.Errorf("the link is %q, %v", to, err)
	}
	mustOutput(t, deps, single(good), dir)
	both := multi(map[string]*store.Ref{"linux/amd64": evil, "linux/arm64": good})
	if _, _, err := output(t, deps, both, "type=local,platform-split=false,dest="+t.TempDir()); err == nil || !strings.Contains(err.Error(), "cannot overwrite etc from") {
		t.Errorf("a link of one platform and a directory of another: %v", err)
	}
	if dt, err := os.ReadFile(filepath.Join(outside, "passwd")); err != nil || string(dt) != "root" {
		t.Errorf("outside: %q, %v", dt, err)
	}
}

func TestPlatformSplit(t *testing.T) {
	st := openStore(t)
	tree := func(arch string) *store.Ref {
		return grow(t, st, nil, arch, func(dir string) {
			write(t, dir, "bin/tool-"+arch, arch)
			must(t, os.Link(filepath.Join(dir, "bin/tool-"+arch), filepath.Join(dir, "hard-"+arch)))
			must(t, os.Symlink("/bin/tool-"+arch, filepath.Join(dir, "link-"+arch)))
		})
	}
	src := multi(map[string]*store.Ref{"linux/amd64": tree("amd64"), "linux/arm64": tree("arm64"), "linux/s390x": nil})
	deps := export.Deps{Store: st}
	split := []string{"linux_amd64/", "linux_amd64/bin/", "linux_amd64/bin/tool-amd64", "linux_amd64/hard-amd64", "linux_amd64/link-amd64",
		"linux_arm64/", "linux_arm64/bin/", "linux_arm64/bin/tool-arm64", "linux_arm64/hard-arm64", "linux_arm64/link-arm64", "linux_s390x/"}
	merged := []string{"bin/", "bin/tool-amd64", "bin/tool-arm64", "hard-amd64", "hard-arm64", "link-amd64", "link-arm64"}
	one := &export.Source{Platforms: src.Platforms[:1]}
	asked := &export.Source{Platforms: src.Platforms[:1], MultiPlatform: true}
	for _, c := range []struct {
		about, attrs string
		src          *export.Source
		want         []string
	}{
		{"several", "", src, split},
		{"several, merged", ",platform-split=false", src, merged},
		{"one", "", one, []string{"bin/", "bin/tool-amd64", "hard-amd64", "link-amd64"}},
		{"one, split", ",platform-split=true", one, split[:5]},
		{"one of a map", "", asked, split[:5]},
	} {
		dir := t.TempDir()
		mustOutput(t, deps, c.src, "type=local,dest="+dir+c.attrs)
		var got []string
		for p, d := range describe(t, dir) {
			if strings.HasPrefix(d, "d") {
				p += "/"
			}
			got = append(got, p)
			if strings.Contains(p, "hard-") && !strings.Contains(d, " = ") {
				t.Errorf("%s: %s is no hard link: %s", c.about, p, d)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: local has %v, want %v", c.about, got, c.want)
		}
		_, archive := mustOutput(t, deps, c.src, "type=tar"+c.attrs)
		got = names(t, archive)
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: tar has %v, want %v", c.about, got, c.want)
		}
	}
}

// Platforms whose directories would be one are refused.
func TestPlatformsInOneDirectory(t *testing.T) {
	src := multi(map[string]*store.Ref{"linux/amd64": nil, "linux/arm64": nil})
	src.Platforms[1].ID = "linux_amd64"
	if _, _, err := output(t, export.Deps{}, src, "-"); err == nil || !strings.Contains(err.Error(), "directory linux_amd64") {
		t.Errorf("%v", err)
	}
}

// names lists an archive, each name once.
func names(t *testing.T, archive []byte) (out []string) {
	t.Helper()
	for tr := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		must(t, err)
		if slices.Contains(out, h.Name) {
			t.Errorf("%s is in the archive twice", h.Name)
		}
		out = append(out, h.Name)
	}
}

func TestTreeEpoch(t *testing.T) {
	st := openStore(t)
	ref := grow(t, st, nil, "x", func(dir string) {
		write(t, dir, "d/f", "x")
		must(t, os.Symlink("f", filepath.Join(dir, "l")))
	})
	deps := export.Deps{Store: st}
	src := single(ref)
	src.Metadata = map[string][]byte{"source.date.epoch": []byte("1000")}
	for attr, want := range map[string]string{"": "@1000", ",source-date-epoch=77": "@77", ",source-date-epoch=": ""} {
		dir := t.TempDir()
		mustOutput(t, deps, src, "type=local,dest="+dir+attr)
		for p, d := range describe(t, dir) {
			if want == "" && strings.Contains(d, "@1000") || !strings.Contains(d, want) {
				t.Errorf("%q: %s: %s", attr, p, d)
			}
		}
	}
	src.Metadata["source.date.epoch"] = []byte("x")
	if _, _, err := output(t, deps, src, "-"); err == nil || !strings.Contains(err.Error(), `SOURCE_DATE_EPOCH "x"`) {
		t.Errorf("a bad epoch: %v", err)
	}
}

// Sockets are no part of what is exported: they cannot be copied.
func TestTreeSocket(t *testing.T) {
	st := openStore(t)
	ref := grow(t, st, nil, "x", func(dir string) {
		write(t, dir, "f", "x")
		l, err := net.Listen("unix", filepath.Join(dir, "sock"))
		must(t, err)
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		must(t, l.Close())
	})
	deps := export.Deps{Store: st}
	dir := t.TempDir()
	mustOutput(t, deps, single(ref), dir)
	_, archive := mustOutput(t, deps, single(ref), "-")
	if got := names(t, archive); len(got) != 1 || len(describe(t, dir)) != 1 {
		t.Errorf("the archive has %q, the directory %v", got, describe(t, dir))
	}
}

// What is stopped, or fails, leaves neither half files nor temporary ones.
func TestTreeStopped(t *testing.T) {
	st := openStore(t)
	ref := grow(t, st, nil, "x", func(dir string) { write(t, dir, "a", strings.Repeat("x", 1<<20), "b", "x") })
	dir := t.TempDir()
	file := filepath.Join(dir, "out.tar")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	for _, req := range []export.Request{{Type: "local", Dir: dir}, {Type: "tar", Open: export.File(file, 0)}} {
		ex, err := export.New(export.Builtin(export.Deps{Store: st}), req)
		must(t, err)
		if _, err := ex.Export(ctx, single(ref), nil); err == nil {
			t.Errorf("%s: no error", req.Type)
		}
	}
	if got := describe(t, dir); len(got) > 0 {
		t.Errorf("left behind: %v", got)
	}
	// A pipe that nobody reads any more.
	ex, err := export.New(export.Builtin(export.Deps{Store: st}), export.Request{Type: "tar",
		Open: func(context.Context, map[string]string) (io.WriteCloser, error) {
			r, w := io.Pipe()
			return w, r.CloseWithError(why)
		}})
	must(t, err)
	if _, err := ex.Export(t.Context(), single(ref), nil); !errors.Is(err, why) {
		t.Errorf("a broken pipe: %v", err)
	}
}

func TestCacheOnlyAndUnknown(t *testing.T) {
	all := export.Builtin(export.Deps{})
	ex, err := export.New(all, export.Request{Type: "cacheonly"})
	must(t, err)
	if resp, err := ex.Export(t.Context(), single(nil), nil); err != nil || len(resp) != 0 {
		t.Errorf("cacheonly: %v, %v", resp, err)
	}
	if _, err := export.New(all, export.Request{Type: "locl"}); err == nil || !strings.Contains(err.Error(), "there are cacheonly, docker, image, local, oci, tar") {
		t.Errorf("unknown: %v", err)
	}
	for _, req := range []export.Request{{Type: "local"}, {Type: "tar"}, {Type: "oci"}, {Type: "docker"},
		{Type: "oci", Attrs: map[string]string{"tar": "false"}}, {Type: "image", Attrs: map[string]string{"push": "true", "name": "x"}}, {Type: "image", Attrs: map[string]string{"push": "true"}}} {
		if _, err := export.New(all, req); err == nil {
			t.Errorf("%+v: no error", req)
		}
	}
}

// What a type does not know is refused, unless the caller is lenient: then it is metadata
// of the result, such as the image's config. What a type knows is checked all the same.
func TestLenient(t *testing.T) {
	st := openStore(t)
	factories := export.Builtin(export.Deps{Store: st})
	for _, typ := range []string{"image", "oci", "docker", "local", "tar", "cacheonly"} {
		req := export.Request{
			Type: typ, Dir: t.TempDir(), Attrs: map[string]string{"future": "1", "attest:provenance": "mode=max"},
			Open: func(context.Context, map[string]string) (io.WriteCloser, error) { return nopWriter{io.Discard}, nil },
		}
		_, err := export.New(factories, req)
		check.Says(t, err, `"attest:provenance", "future"`)
		req.Lenient = true
		x, err := export.New(factories, req)
		check.OK(t, err)
		_, err = x.Export(t.Context(), &export.Source{Platforms: []export.Platform{{}}}, nil)
		check.OK(t, err)
	}
	req := export.Request{Type: "image", Lenient: true, Attrs: map[string]string{
		"name": "a", "containerimage.config": `{"os":"linux","architecture":"arm64"}`,
	}}
	x, err := export.New(factories, req)
	check.OK(t, err)
	resp, err := x.Export(t.Context(), &export.Source{Platforms: []export.Platform{{}}}, nil)
	check.OK(t, err)
	dt, err := base64.StdEncoding.DecodeString(resp[exptypes.ExporterImageDescriptorKey])
	check.OK(t, err)
	check.Equal(t, "the config's platform", strings.Contains(string(dt), "arm64"), true)
	req.Attrs["push"] = "perhaps"
	_, err = export.New(factories, req)
	check.Says(t, err, "perhaps")
}

type nopWriter struct{ io.Writer }

func (nopWriter) Close() error { return nil }
