package main

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
)

// scriptBase makes an OCI layout with one image, base: a busybox. It returns its
// folder and the image's digest.
func scriptBase(t *testing.T, busybox string) (dir, digest string) {
	t.Helper()
	dir = t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	scriptOK(t, err)
	img := scriptImage(t, busybox, nil)
	scriptOK(t, p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "base"})))
	dgst, err := img.Digest()
	scriptOK(t, err)
	return dir, dgst.String()
}

// scriptImage is an image of two layers, a busybox and /second, with a
// configuration that change may change.
func scriptImage(t testing.TB, busybox string, change func(*v1.ConfigFile)) v1.Image {
	t.Helper()
	dt, err := os.ReadFile(busybox)
	scriptOK(t, err)
	img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		scriptLayer(t, map[string]string{"bin/busybox": string(dt), "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "tmp/": ""}),
		scriptLayer(t, map[string]string{"second": "2\n"}))
	scriptOK(t, err)
	cfg, err := img.ConfigFile()
	scriptOK(t, err)
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", "amd64"
	cfg.Config.Env = []string{"PATH=/bin"}
	cfg.Created = v1.Time{Time: time.Unix(1_000_000_000, 0)}
	if change != nil {
		change(cfg)
	}
	img, err = mutate.ConfigFile(img, cfg)
	scriptOK(t, err)
	return img
}

// scriptLayer is a compressed layer of files; a name with a slash at its end is a
// directory, and busybox is linked by the names of its programs.
func scriptLayer(t testing.TB, files map[string]string) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range sortedKeys(files) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(files[name]))}
		if strings.HasSuffix(name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o1777
		}
		scriptOK(t, w.WriteHeader(h))
		_, err := io.WriteString(w, files[name])
		scriptOK(t, err)
		if name != "bin/busybox" {
			continue
		}
		for link := range strings.FieldsSeq("sh cat cp mv rm ls ln mkdir sleep touch test id env echo grep wc stat hostname dd trap") {
			scriptOK(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + link, Linkname: "busybox", Mode: 0o777}))
		}
	}
	scriptOK(t, w.Close())
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	scriptOK(t, err)
	return layer
}

// scriptPut: put HOST NAME KIND pushes an image to a registry: good, or with the
// fault that its kind says.
func scriptPut(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: put HOST NAME KIND")
	}
	t := world(ts).t
	var change func(*v1.ConfigFile)
	switch args[2] {
	case "good", "other":
		if args[2] == "other" {
			change = func(c *v1.ConfigFile) { c.Config.Env = append(c.Config.Env, "OTHER=1") }
		}
	case "no-diff-ids":
		change = func(c *v1.ConfigFile) { c.RootFS.DiffIDs = nil }
	case "one-diff-id":
		change = func(c *v1.ConfigFile) { c.RootFS.DiffIDs = c.RootFS.DiffIDs[:1] }
	case "wrong-diff-id":
		change = func(c *v1.ConfigFile) { c.RootFS.DiffIDs[0].Hex = strings.Repeat("1", 64) }
	case "foreign":
		change = func(c *v1.ConfigFile) { c.Architecture, c.Variant = "s390x", "" }
	case "onbuild":
		change = func(c *v1.ConfigFile) { c.Config.OnBuild = []string{"RUN echo triggered > /triggered"} }
	default:
		ts.Fatalf("put: unknown kind %q", args[2])
	}
	ref, err := name.ParseReference(args[0]+"/"+args[1], name.Insecure)
	ts.Check(err)
	busybox := ts.Getenv("BUSYBOX")
	if args[2] != "foreign" {
		ts.Check(remote.Write(ref, scriptImage(t, busybox, change)))
		return
	}
	// The header of a program for s390x is enough for not being run here.
	busybox = ts.MkAbs("foreign")
	ts.Check(os.WriteFile(busybox, append([]byte("\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16\x00\x00\x00\x01"), make([]byte, 200)...), 0o755))
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add:        scriptImage(t, busybox, change),
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}},
	})
	ts.Check(remote.WriteIndex(ref, index))
}
