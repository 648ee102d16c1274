package export_test

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/labels"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	digest "github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// twoLayers is a tree of two layers, the second of which removes, replaces and adds.
// It returns what its files are, too.
func twoLayers(t testing.TB, st *store.Store) (*store.Ref, map[string]string) {
	t.Helper()
	base := grow(t, st, nil, "base", func(dir string) {
		everything(t, dir)
		write(t, dir, "gone", "x", "goneDir/a/b", "x", "opaque/old", "x", "wasDir/x", "x", "wasFile", "x")
		age(t, dir)
	})
	var want map[string]string
	ref := grow(t, st, base, "RUN change", func(dir string) {
		must(t, os.Remove(filepath.Join(dir, "gone")))
		must(t, os.RemoveAll(filepath.Join(dir, "goneDir")))
		must(t, os.RemoveAll(filepath.Join(dir, "opaque")))
		must(t, os.RemoveAll(filepath.Join(dir, "wasDir")))
		must(t, os.Remove(filepath.Join(dir, "wasFile")))
		write(t, dir, "opaque/new", "x", "wasDir", "a file", "wasFile/in", "a directory", "added", "x")
		must(t, os.Chmod(filepath.Join(dir, "empty"), 0o600))
		must(t, os.Link(filepath.Join(dir, "added"), filepath.Join(dir, "added2")))
		want = describe(t, dir)
	})
	return ref, want
}

// config is what a frontend would say of twoLayers.
const config = `{"os":"linux","architecture":"amd64","config":{"Cmd":["/bin/sh"],"Labels":{"a":"b"}},"x-unknown":{"y":1},
"history":[{"created_by":"base","created":"2023-11-14T22:13:20Z"},{"created_by":"CMD","empty_layer":true},{"created_by":"RUN change"}]}`

func built(ref *store.Ref) *export.Source {
	return &export.Source{Platforms: []export.Platform{{ID: "linux/amd64",
		Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}, Ref: ref, Config: []byte(config)}}}
}

// unpack has umoci unpack an image of a layout, and describes what comes of it.
func unpack(t *testing.T, dir, tag string) map[string]string {
	t.Helper()
	umoci := testenv.Tool(t, "umoci")
	bundle := filepath.Join(t.TempDir(), "bundle")
	if out, err := exec.Command(umoci, "unpack", "--image", dir+":"+tag, bundle).CombinedOutput(); err != nil {
		t.Fatalf("umoci: %v: %s", err, out)
	}
	return describe(t, filepath.Join(bundle, "rootfs"))
}

// What an image unpacks to, by another reader, is what was built: in every form.
func TestImageWhole(t *testing.T) {
	st := openStore(t)
	ref, want := twoLayers(t, st)
	deps := export.Deps{Store: st}
	for _, c := range []struct{ attrs, mediaType string }{
		{"", ocispec.MediaTypeImageLayerGzip},
		{",compression=zstd,force-compression=true", ocispec.MediaTypeImageLayerZstd},
		{",compression=uncompressed,force-compression=true", ocispec.MediaTypeImageLayer},
		{",compression=gzip,compression-level=9,force-compression=true", ocispec.MediaTypeImageLayerGzip},
	} {
		dir := filepath.Join(t.TempDir(), "layout")
		resp, _ := mustOutput(t, deps, built(ref), "type=oci,tar=false,name=example.com/a/b:c,dest="+dir+c.attrs)
		img := onlyImage(t, dir)
		if c.mediaType == ocispec.MediaTypeImageLayerGzip { // which validate takes for granted
			must(t, validate.Image(img))
		}
		m, err := img.Manifest()
		must(t, err)
		cfg, err := img.ConfigFile()
		must(t, err)
		if len(m.Layers) != 2 || len(cfg.RootFS.DiffIDs) != 2 || len(cfg.History) != 3 {
			t.Errorf("%s: %d layers, %d diff IDs, history %+v", c.attrs, len(m.Layers), len(cfg.RootFS.DiffIDs), cfg.History)
		}
		for _, l := range m.Layers {
			if string(l.MediaType) != c.mediaType || len(l.Annotations) > 0 {
				t.Errorf("%s: layer %+v", c.attrs, l)
			}
		}
		d, err := img.Digest()
		must(t, err)
		if resp[exptypes.ExporterImageDigestKey] != d.String() || resp[exptypes.ExporterImageConfigDigestKey] != m.Config.Digest.String() ||
			resp[exptypes.ExporterImageNameKey] != "example.com/a/b:c" {
			t.Errorf("%s: response %v", c.attrs, resp)
		}
		if c.mediaType == ocispec.MediaTypeImageLayerZstd { // which umoci may not read
			dir = recompressed(t, dir+":c", "c")
		}
		differ(t, "umoci"+c.attrs, unpack(t, dir, "c"), want)
	}
}

// recompressed has skopeo copy an image into a layout with gzip, by way of one
// without compression.
func recompressed(t *testing.T, from, tag string) string {
	t.Helper()
	skopeo := testenv.Tool(t, "skopeo")
	plain, dir := "dir:"+filepath.Join(t.TempDir(), "plain"), filepath.Join(t.TempDir(), "copy")
	for _, args := range [][]string{{"--dest-decompress", "oci:" + from, plain}, {plain, "oci:" + dir + ":" + tag}} {
		if out, err := exec.Command(skopeo, append([]string{"copy", "--insecure-policy"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("skopeo: %v: %s", err, out)
		}
	}
	return dir
}

// A store without overlayfs makes the same of it, in images and in directories.
func TestNativeWhole(t *testing.T) {
	st := openStoreOn(t, "native")
	ref, want := twoLayers(t, st)
	deps := export.Deps{Store: st}
	dir := filepath.Join(t.TempDir(), "layout")
	mustOutput(t, deps, built(ref), "type=oci,tar=false,name=x:c,dest="+dir)
	differ(t, "umoci", untimed(unpack(t, dir, "c")), untimed(want))
	dir = t.TempDir()
	mustOutput(t, deps, built(ref), "type=local,privileged-files=true,dest="+dir)
	differ(t, "local", describe(t, dir), ours(want))
}

// untimed leaves out the times of directories. The native snapshotter copies a tree
// without them, and that alone makes no change of which a layer would tell.
func untimed(files map[string]string) map[string]string {
	times := regexp.MustCompile(`^(d.*) @\d+`)
	out := map[string]string{}
	for p, d := range files {
		out[p] = times.ReplaceAllString(d, "$1")
	}
	return out
}

// onlyImage is the one image of a layout.
func onlyImage(t *testing.T, dir string) v1.Image {
	t.Helper()
	p, err := layout.FromPath(dir)
	must(t, err)
	idx, err := p.ImageIndex()
	must(t, err)
	im, err := idx.IndexManifest()
	must(t, err)
	if len(im.Manifests) != 1 {
		t.Fatalf("the layout has %+v", im.Manifests)
	}
	img, err := p.Image(im.Manifests[0].Digest)
	must(t, err)
	return img
}

// A docker archive is read by what reads those of docker save, an OCI one by skopeo.
func TestArchives(t *testing.T) {
	skopeo := testenv.Tool(t, "skopeo")
	st := openStore(t)
	ref, want := twoLayers(t, st)
	deps := export.Deps{Store: st}
	for _, typ := range []string{"docker", "oci"} {
		file := filepath.Join(t.TempDir(), "out.tar")
		resp, _ := mustOutput(t, deps, built(ref), `type=`+typ+`,"name=foo,example.com/a/b:c",dest=`+file)
		if got := resp[exptypes.ExporterImageNameKey]; got != "docker.io/library/foo:latest,example.com/a/b:c" {
			t.Errorf("names are %q", got)
		}
		where := typ + "-archive:" + file
		if typ == "docker" {
			img, err := tarball.ImageFromPath(file, nil)
			must(t, err)
			must(t, validate.Image(img))
			for _, tag := range []string{"foo:latest", "example.com/a/b:c"} {
				if out, err := exec.Command(skopeo, "inspect", where+":"+tag).CombinedOutput(); err != nil {
					t.Errorf("skopeo: %s: %v: %s", tag, err, out)
				}
			}
			where += ":foo:latest"
		} else {
			where += ":c"
		}
		dir := filepath.Join(t.TempDir(), "copy")
		if out, err := exec.Command(skopeo, "copy", "--insecure-policy", where, "oci:"+dir+":x").CombinedOutput(); err != nil {
			t.Fatalf("skopeo: %v: %s", err, out)
		}
		differ(t, typ, unpack(t, dir, "x"), want)
		first, err := os.ReadFile(file)
		must(t, err)
		// Where an image has been is known to the store, and is no part of it.
		labelled := content.Info{Digest: digest.Digest(resp[exptypes.ExporterImageDigestKey]),
			Labels: map[string]string{labels.LabelDistributionSource + ".example.com": "a/b"}}
		_, err = st.Content().Update(t.Context(), labelled, "labels."+labels.LabelDistributionSource+".example.com")
		must(t, err)
		_, again := mustOutput(t, deps, built(ref), `type=`+typ+`,"name=foo,example.com/a/b:c"`)
		if !bytes.Equal(first, again) {
			t.Errorf("%s: the same image is not the same archive", typ)
		}
	}
	two := multi(map[string]*store.Ref{"linux/amd64": ref, "linux/arm64": nil})
	if _, _, err := output(t, deps, two, "type=docker"); err == nil || !strings.Contains(err.Error(), "type=oci") {
		t.Errorf("docker with two platforms: %v", err)
	}
}

// entries are the JSON files at the top of an archive.
func entries(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	for tr := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		must(t, err)
		if !strings.Contains(h.Name, "/") {
			dt, err := io.ReadAll(tr)
			must(t, err)
			out[h.Name] = string(dt)
		}
	}
}

// A result without files is an image, too.
func TestEmptyImage(t *testing.T) {
	st := openStore(t)
	deps := export.Deps{Store: st}
	dir := t.TempDir()
	src := &export.Source{Platforms: []export.Platform{{Platform: &ocispec.Platform{OS: "linux", Architecture: "riscv64"}}}}
	mustOutput(t, deps, src, "type=oci,tar=false,dest="+dir)
	img := onlyImage(t, dir)
	must(t, validate.Image(img))
	raw, err := img.RawManifest()
	must(t, err)
	cfg, err := img.ConfigFile()
	must(t, err)
	if !strings.Contains(string(raw), `"layers": []`) || cfg.Architecture != "riscv64" {
		t.Errorf("%s\n%+v", raw, cfg)
	}
	_, archive := mustOutput(t, deps, src, "type=docker,name=x")
	if m := entries(t, archive)["manifest.json"]; !strings.Contains(m, `"RepoTags":["x:latest"]`) {
		t.Errorf("manifest.json: %s", m)
	}
	if _, _, err := output(t, deps, &export.Source{}, "type=oci"); err == nil || !strings.Contains(err.Error(), "nothing to export") {
		t.Errorf("no result: %v", err)
	}
}

// The layout of a directory grows: other images stay, a name moves, and without a
// name an image is there once.
func TestLayoutGrows(t *testing.T) {
	st := openStore(t)
	deps := export.Deps{Store: st}
	dir := t.TempDir()
	of := func(arch string) *export.Source {
		return &export.Source{Platforms: []export.Platform{{Platform: &ocispec.Platform{OS: "linux", Architecture: arch}}}}
	}
	index := func() (out []string) {
		dt, err := os.ReadFile(filepath.Join(dir, "index.json"))
		must(t, err)
		var idx ocispec.Index
		must(t, json.Unmarshal(dt, &idx))
		for _, m := range idx.Manifests {
			out = append(out, m.Platform.Architecture+" "+m.Annotations[images.AnnotationImageName]+" "+m.Annotations[ocispec.AnnotationRefName])
		}
		return out
	}
	for _, s := range []struct {
		arch, names string
		want        []string
	}{
		{"amd64", ",name=a", []string{"amd64 docker.io/library/a:latest latest"}},
		{"arm64", "", []string{"amd64 docker.io/library/a:latest latest", "arm64  "}},
		{"arm64", "", []string{"amd64 docker.io/library/a:latest latest", "arm64  "}},
		{"s390x", `,"name=a,b:1"`, []string{"arm64  ", "s390x docker.io/library/a:latest latest", "s390x docker.io/library/b:1 1"}},
	} {
		mustOutput(t, deps, of(s.arch), "type=oci,tar=false,dest="+dir+s.names)
		if got := index(); !reflect.DeepEqual(got, s.want) {
			t.Errorf("after %s%s: %q, want %q", s.arch, s.names, got, s.want)
		}
	}
	es, err := os.ReadDir(dir)
	must(t, err)
	if len(es) != 3 {
		t.Errorf("the layout has %v", es)
	}
	must(t, os.WriteFile(filepath.Join(dir, "index.json"), []byte("{"), 0o644))
	if _, _, err := output(t, deps, of("amd64"), "type=oci,tar=false,dest="+dir); err == nil || !strings.Contains(err.Error(), "index.json is not an index") {
		t.Errorf("a broken index: %v", err)
	}
}

// Annotations go where their keys say.
func TestAnnotations(t *testing.T) {
	st := openStore(t)
	deps := export.Deps{Store: st}
	two := multi(map[string]*store.Ref{"linux/amd64": nil, "linux/arm64": nil})
	two.Metadata = map[string][]byte{"annotation.from": []byte("frontend"), "annotation.over": []byte("frontend"), "other": []byte("x")}
	resp, archive := mustOutput(t, deps, two, "type=oci,annotation.all=1,annotation.over=output,annotation-manifest[linux/arm64].arm=2,"+
		"annotation-index.idx=3,annotation-index-descriptor.idxd=4,annotation-manifest-descriptor[linux/amd64].amdd=5")
	var top, idx ocispec.Index
	must(t, json.Unmarshal([]byte(entries(t, archive)["index.json"]), &top))
	read := func(d ocispec.Descriptor, v any) {
		t.Helper()
		must(t, json.Unmarshal(blob(t, archive, d), v))
	}
	read(top.Manifests[0], &idx)
	var amd, arm ocispec.Manifest
	read(idx.Manifests[0], &amd)
	read(idx.Manifests[1], &arm)
	for _, c := range []struct {
		where     string
		got, want map[string]string
	}{
		{"descriptor of the index", top.Manifests[0].Annotations, map[string]string{"idxd": "4"}},
		{"index", idx.Annotations, map[string]string{"idx": "3"}},
		{"descriptor of amd64", idx.Manifests[0].Annotations, map[string]string{"amdd": "5"}},
		{"descriptor of arm64", idx.Manifests[1].Annotations, nil},
		{"amd64", amd.Annotations, map[string]string{"from": "frontend", "over": "output", "all": "1"}},
		{"arm64", arm.Annotations, map[string]string{"from": "frontend", "over": "output", "all": "1", "arm": "2"}},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: %v, want %v", c.where, c.got, c.want)
		}
	}
	if resp[exptypes.ExporterImageConfigDigestKey] != "" {
		t.Errorf("an index has no config: %v", resp)
	}
	for attrs, want := range map[string]string{
		"annotation[linux/s390x].a=b":                             "annotation[linux/s390x]: that platform is not built",
		"annotation-manifest-descriptor.a=b,oci-mediatypes=false": "need OCI media types",
	} {
		if _, _, err := output(t, deps, two, "type=oci,"+attrs); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v does not say %q", attrs, err, want)
		}
	}
	if _, _, err := output(t, deps, single(nil), "type=oci,annotation-index.a=b"); err == nil || !strings.Contains(err.Error(), "needs an index") {
		t.Errorf("an index's annotation without an index: %v", err)
	}
}

func blob(t *testing.T, archive []byte, d ocispec.Descriptor) []byte {
	t.Helper()
	for tr := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := tr.Next()
		must(t, err)
		if strings.HasSuffix(h.Name, "/"+d.Digest.Encoded()) {
			dt, err := io.ReadAll(tr)
			must(t, err)
			return dt
		}
	}
}

// An image of the store has its names, is held with all that it is made of, and says
// what it is.
func TestImageInStore(t *testing.T) {
	st := openStore(t)
	ref, _ := twoLayers(t, st)
	deps := export.Deps{Store: st}
	ctx := st.Context(t.Context())
	resp, _ := mustOutput(t, deps, built(ref), `type=image,"name=foo,example.com/a/b:c",name-canonical=true,dangling-name-prefix=old`)
	d := resp[exptypes.ExporterImageDigestKey]
	for _, name := range []string{"docker.io/library/foo:latest", "docker.io/library/foo@" + d, "example.com/a/b:c", "example.com/a/b@" + d, "old@" + d} {
		img, err := st.Images().Get(ctx, name)
		if err != nil || img.Target.Digest.String() != d {
			t.Errorf("%s: %+v, %v", name, img, err)
		}
	}
	dt, err := base64.StdEncoding.DecodeString(resp[exptypes.ExporterImageDescriptorKey])
	must(t, err)
	var desc ocispec.Descriptor
	must(t, json.Unmarshal(dt, &desc))
	if desc.Digest.String() != d || desc.Platform == nil || desc.Platform.Architecture != "amd64" {
		t.Errorf("descriptor %+v", desc)
	}
	// Whoever walks the labels, as garbage collection does, finds all.
	m, err := images.Manifest(ctx, st.Content(), desc, nil)
	must(t, err)
	info, err := st.Content().Info(ctx, desc.Digest)
	must(t, err)
	held := map[string]bool{}
	for k, v := range info.Labels {
		if strings.HasPrefix(k, "containerd.io/gc.ref.content") {
			held[v] = true
		}
	}
	for _, b := range append(m.Layers, m.Config) {
		if _, err := st.Content().Info(ctx, b.Digest); err != nil || !held[b.Digest.String()] {
			t.Errorf("%s: held: %v, %v", b.Digest, held[b.Digest.String()], err)
		}
	}
	// A name moves to the next image.
	next, _ := mustOutput(t, deps, single(nil), "type=image,name=foo")
	img, err := st.Images().Get(ctx, "docker.io/library/foo:latest")
	if err != nil || img.Target.Digest.String() != next[exptypes.ExporterImageDigestKey] {
		t.Errorf("foo is %+v, %v", img, err)
	}
	src := single(nil)
	src.Metadata = map[string][]byte{exptypes.ExporterImageNameKey: []byte("frontends/choice:1")}
	resp, _ = mustOutput(t, deps, src, `type=image,name=*`)
	if got := resp[exptypes.ExporterImageNameKey]; got != "frontends/choice:1" {
		t.Errorf("name=*: %q", got)
	}
}

// With SOURCE_DATE_EPOCH and rewrite-timestamp the same image is made of the same
// files, whenever they were made and wherever.
func TestReproducible(t *testing.T) {
	var digests []string
	for i := range 2 {
		st := openStore(t)
		now := time.Now().Add(time.Duration(i) * time.Hour)
		stamp := func(dir string) {
			must(t, filepath.Walk(dir, func(p string, _ os.FileInfo, err error) error {
				must(t, err)
				return setMtime(p, now.Unix())
			}))
		}
		base := grow(t, st, nil, "base", func(dir string) { write(t, dir, "a/b", "x"); stamp(dir) })
		ref := grow(t, st, base, "top", func(dir string) { write(t, dir, "c", "y"); stamp(dir) })
		src := single(ref)
		src.Metadata = map[string][]byte{"source.date.epoch": []byte("1000000000")}
		resp, archive := mustOutput(t, export.Deps{Store: st}, src, "type=oci,rewrite-timestamp=true,name=x")
		digests = append(digests, resp[exptypes.ExporterImageDigestKey]+" "+entries(t, archive)["index.json"])
	}
	if digests[0] != digests[1] {
		t.Errorf("two images:\n%s\n%s", digests[0], digests[1])
	}
}
