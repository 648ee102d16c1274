package image_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/registry/registrytest"
	"github.com/tenonbuild/tenon/internal/check"
)

func digestOf(t testing.TB, img interface{ Digest() (v1.Hash, error) }) digest.Digest {
	t.Helper()
	h, err := img.Digest()
	check.OK(t, err)
	return digest.Digest(h.String())
}

// No layer is asked for before the tree is needed, and then each once.
func TestLayersAreLazy(t *testing.T) {
	w := newWorld(t)
	img := picture(t, runtime.GOARCH, layer(t, "a", "1", "b", "1"), layer(t, "b", "2"))
	ref := w.reg.Put(t, "app:1", img)
	tree := w.snapshot(ref)
	defer func() { check.OK(t, tree.Release(t.Context())) }()
	check.Equal(t, "blobs before mounting (the configuration)", len(w.reg.Requests("/blobs/")), 1)
	got, err := w.read(tree, "a", "b")
	check.OK(t, err)
	check.Equal(t, "files", got, "1 2")
	check.Equal(t, "layers", len(w.reg.Requests("/blobs/")), 2)
	_, err = w.read(tree, "a")
	check.OK(t, err)
	check.Equal(t, "layers again", len(w.reg.Requests("/blobs/")), 0)
	check.Equal(t, "description", tree.Description(), "pulled from "+ref)
}

func TestKeys(t *testing.T) {
	w := newWorld(t)
	img := picture(t, runtime.GOARCH, layer(t, "a", "1"), layer(t, "b", "2"))
	first := w.mustKeys(w.reg.Put(t, "app:1", img), nil)
	same := w.mustKeys(w.reg.Put(t, "other/name:x", img), nil)
	check.Equal(t, "keys", len(first), 2)
	check.Equal(t, "under another name", same[0] == first[0] && same[1] == first[1], true)

	reconfigured := configured(t, img, func(c *v1.ConfigFile) { c.Config.Env = []string{"A=1"} })
	k := w.mustKeys(w.reg.Put(t, "app:2", reconfigured), nil)
	check.Equal(t, "other configuration, same layers", k[0] != first[0] && k[1] == first[1], true)

	index := mutate.AppendManifests(empty.Index, entry(img, "linux", runtime.GOARCH, ""))
	k = w.mustKeys(w.reg.Put(t, "app:3", index), nil)
	check.Equal(t, "through an index", k[0] == first[0], true)

	limited := w.mustKeys(w.reg.Host+"/app:1", nil, pb.AttrImageLayerLimit, "1")
	check.Equal(t, "one layer", limited[0] != first[0] && limited[1] != first[1], true)

	// An image that claims the contents of another is not taken for it.
	liar := configured(t, picture(t, runtime.GOARCH, layer(t, "x", "1"), layer(t, "y", "2")), func(c *v1.ConfigFile) {
		honest, err := img.ConfigFile()
		check.OK(t, err)
		c.RootFS = honest.RootFS
	})
	ref := w.reg.Put(t, "app:4", liar)
	k = w.mustKeys(ref, nil)
	check.Equal(t, "liar", k[1] == first[1], false)
	tree := w.snapshot(ref)
	_, err := w.read(tree, "a")
	check.Says(t, err, "the image says")
	check.OK(t, tree.Release(t.Context()))
}

func TestPlatforms(t *testing.T) {
	w := newWorld(t)
	amd, arm, v7 := picture(t, "amd64", layer(t, "a", "amd")), picture(t, "arm64", layer(t, "a", "arm")), picture(t, "arm", layer(t, "a", "v7"))
	unnamed := picture(t, "s390x", layer(t, "a", "s390x"))
	inner := mutate.AppendManifests(empty.Index, entry(arm, "linux", "arm64", ""), entry(v7, "linux", "arm", "v7"))
	index := mutate.AppendManifests(empty.Index,
		entry(amd, "linux", "amd64", ""),
		mutate.IndexAddendum{Add: inner},
		mutate.IndexAddendum{Add: unnamed},
		mutate.IndexAddendum{Add: picture(t, "riscv64"), Descriptor: v1.Descriptor{
			Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
			Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"},
		}},
	)
	ref := w.reg.Put(t, "multi:1", index)
	for arch, img := range map[string]v1.Image{"amd64": amd, "arm64": arm, "arm": v7, "s390x": unnamed} {
		k, err := w.keys(ref, &pb.Platform{OS: "linux", Architecture: arch})
		if err != nil {
			t.Errorf("%s: %v", arch, err)
			continue
		}
		check.Equal(t, arch, k[0], "image "+digestOf(t, img).String())
	}
	_, err := w.keys(ref, &pb.Platform{OS: "linux", Architecture: "riscv64"})
	check.Says(t, err, ref, "linux/riscv64", "linux/amd64, linux/arm/v7, linux/arm64, linux/s390x")
	_, err = w.keys(ref, &pb.Platform{OS: "windows", Architecture: "amd64"})
	check.Says(t, err, "windows/amd64")

	// A manifest that stands alone leaves no choice.
	k := w.mustKeys(w.reg.Put(t, "single:1", arm), &pb.Platform{OS: "linux", Architecture: "amd64"})
	check.Equal(t, "single", k[0], "image "+digestOf(t, arm).String())
}

func TestDockerSchema2(t *testing.T) {
	w := newWorld(t)
	img := mutate.MediaType(mutate.ConfigMediaType(picture(t, "amd64", layer(t, "a", "1")), types.DockerConfigJSON), types.DockerManifestSchema2)
	index := mutate.IndexMediaType(mutate.AppendManifests(empty.Index, entry(img, "linux", "amd64", "")), types.DockerManifestList)
	k := w.mustKeys(w.reg.Put(t, "app:1", index), &pb.Platform{OS: "linux", Architecture: "amd64"})
	check.Equal(t, "key", k[0], "image "+digestOf(t, img).String())
}

func TestBrokenImages(t *testing.T) {
	good := picture(t, runtime.GOARCH, layer(t, "a", "1"), layer(t, "b", "2"))
	config := func(change func(c *v1.ConfigFile)) v1.Image { return configured(t, good, change) }
	tests := []struct {
		name string
		img  v1.Image
		says string
	}{
		{"no diff IDs", config(func(c *v1.ConfigFile) { c.RootFS.DiffIDs = nil }), "has 2 layers"},
		{"a diff ID too few", config(func(c *v1.ConfigFile) { c.RootFS.DiffIDs = c.RootFS.DiffIDs[:1] }), "is for 1"},
		{"a diff ID that is none", config(func(c *v1.ConfigFile) { c.RootFS.DiffIDs[0] = v1.Hash{Algorithm: "sha256", Hex: "zz"} }), "diff_ids"},
		{"windows rootfs", config(func(c *v1.ConfigFile) { c.RootFS.Type = "layers+base" }), "layers+base"},
		{"artifact", mutate.ConfigMediaType(good, "application/vnd.cncf.helm.config.v1+json"), "helm"},
		{"plugin", mutate.ConfigMediaType(good, "application/vnd.docker.plugin.v1+json"), "plugin"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			ref := w.reg.Put(t, "app:1", tt.img)
			_, err := w.keys(ref, nil)
			check.Says(t, err, ref, tt.says)
		})
	}
}

func TestDamagedOnTheWay(t *testing.T) {
	img := picture(t, runtime.GOARCH, layer(t, "a", "1"))
	config, err := img.ConfigName()
	check.OK(t, err)
	for name, match := range map[string]string{"manifest": "GET /v2/app/manifests/", "configuration": "GET /v2/app/blobs/" + config.String()} {
		w := newWorld(t)
		ref := w.reg.Put(t, "app:1", img)
		w.reg.Fault(match, 1, registrytest.Corrupt)
		_, err := w.keys(ref, nil)
		check.Says(t, err, ref, "damaged")
		if _, err := w.keys(ref, nil); err != nil {
			t.Errorf("%s, later: %v", name, err)
		}
		w.reg.Fault("/manifests/", 9, registrytest.Status(404))
		_, err = w.keys(w.reg.Host+"/app:2", nil)
		check.Says(t, err, "app:2", "does not have it")
	}
}

func TestMissingAndDamagedLayers(t *testing.T) {
	w := newWorld(t)
	img := picture(t, runtime.GOARCH, layer(t, "a", "1"))
	ref := w.reg.Put(t, "app:1", img)
	tree := w.snapshot(ref)
	defer func() { check.OK(t, tree.Release(t.Context())) }()
	w.reg.Fault("/blobs/", 1, registrytest.Status(404))
	_, err := w.read(tree, "a")
	check.Says(t, err, ref, "does not have it")
	w.reg.Fault("/blobs/", 1, registrytest.Corrupt)
	if _, err = w.read(tree, "a"); err == nil {
		t.Fatal("a damaged layer was unpacked")
	}
	got, err := w.read(tree, "a")
	check.OK(t, err)
	check.Equal(t, "after all", got, "1")
}

// With its digest an image is found without a registry, also by a later process.
func TestOfflineByDigest(t *testing.T) {
	w := newWorld(t)
	img := picture(t, runtime.GOARCH, layer(t, "a", "1"))
	index := mutate.AppendManifests(empty.Index, entry(img, "linux", runtime.GOARCH, ""))
	ref := w.reg.Put(t, "app:1", index)
	tree := w.snapshot(ref)
	_, err := w.read(tree, "a")
	check.OK(t, err)
	check.OK(t, tree.Release(t.Context()))

	w.open()
	w.reg.HTTP.Close()
	pinned := ref + "@" + digestOf(t, index).String()
	check.Equal(t, "key", w.mustKeys(pinned, nil)[0], "image "+digestOf(t, img).String())
	tree = w.snapshot(pinned)
	got, err := w.read(tree, "a")
	check.OK(t, err)
	check.Equal(t, "files", got, "1")
	check.OK(t, tree.Release(t.Context()))
	// A tag may have moved, and another repository may not have the image.
	_, err = w.keys(ref, nil)
	check.Says(t, err, ref)
	_, err = w.keys(w.reg.Host+"/other@"+digestOf(t, index).String(), nil)
	check.Says(t, err, "other")
}

// put makes an image of the local store, as an exporter does.
func (w *world) put(name string, img v1.Image, withLayers bool) {
	w.t.Helper()
	ctx, release, err := w.st.WithLease(context.Background())
	check.OK(w.t, err)
	write := func(dt []byte, labels map[string]string) digest.Digest {
		d := ocispec.Descriptor{Digest: digest.FromBytes(dt), Size: int64(len(dt))}
		check.OK(w.t, content.WriteBlob(ctx, w.st.Content(), d.Digest.String(), bytes.NewReader(dt), d, content.WithLabels(labels)))
		return d.Digest
	}
	labels := map[string]string{}
	config, err := img.RawConfigFile()
	check.OK(w.t, err)
	labels["containerd.io/gc.ref.content.config"] = write(config, nil).String()
	layers, err := img.Layers()
	check.OK(w.t, err)
	for i, l := range layers {
		if !withLayers {
			break
		}
		rc, err := l.Compressed()
		check.OK(w.t, err)
		var buf bytes.Buffer
		_, err = buf.ReadFrom(rc)
		check.OK(w.t, err)
		labels["containerd.io/gc.ref.content.l."+string(rune('0'+i))] = write(buf.Bytes(), nil).String()
	}
	m, err := img.RawManifest()
	check.OK(w.t, err)
	target := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: write(m, labels), Size: int64(len(m))}
	_, err = w.st.Images().Create(ctx, images.Image{Name: name, Target: target})
	check.OK(w.t, err)
	check.OK(w.t, release(ctx))
}

func TestLocalImages(t *testing.T) {
	w := newWorld(t)
	mine, theirs := picture(t, runtime.GOARCH, layer(t, "a", "mine")), picture(t, runtime.GOARCH, layer(t, "a", "theirs"))
	ref := w.reg.Put(t, "app:1", theirs)
	w.put(ref, mine, true)
	mineKey, theirsKey := "image "+digestOf(t, mine).String(), "image "+digestOf(t, theirs).String()
	for mode, key := range map[string]string{"": mineKey, "default": mineKey, "local": mineKey, "pull": theirsKey} {
		check.Equal(t, "mode "+mode, w.mustKeys(ref, nil, pb.AttrImageResolveMode, mode)[0], key)
	}
	w.reg.HTTP.Close()
	tree := w.snapshot(ref)
	got, err := w.read(tree, "a")
	check.OK(t, err)
	check.Equal(t, "files", got, "mine")
	check.OK(t, tree.Release(t.Context()))
	check.Equal(t, "pinned", w.mustKeys(ref+"@"+digestOf(t, mine).String(), nil, pb.AttrImageResolveMode, "pull")[0], mineKey)
}

// Of a local image that was made on a base that was never pulled, the base's layers
// come from the registry.
func TestLocalImageWithoutItsLayers(t *testing.T) {
	w := newWorld(t)
	img := picture(t, runtime.GOARCH, layer(t, "a", "1"))
	ref := w.reg.Put(t, "app:1", img)
	w.put(ref, img, false)
	tree := w.snapshot(ref)
	check.Equal(t, "requests before mounting", len(w.reg.Requests("")), 0)
	got, err := w.read(tree, "a")
	check.OK(t, err)
	check.Equal(t, "files", got, "1")
	check.OK(t, tree.Release(t.Context()))
}

// A local image for another platform does not hide the registry's.
func TestLocalImageForAnotherPlatform(t *testing.T) {
	w := newWorld(t)
	mine, theirs := picture(t, "s390x", layer(t, "a", "mine")), picture(t, "arm64", layer(t, "a", "theirs"))
	index := mutate.AppendManifests(empty.Index, entry(theirs, "linux", "arm64", ""))
	ref := w.reg.Put(t, "app:1", index)
	local := mutate.AppendManifests(empty.Index, entry(mine, "linux", "s390x", ""))
	w.put("docker.io/library/unused:latest", mine, true)
	dt, err := local.RawManifest()
	check.OK(t, err)
	ctx, release, err := w.st.WithLease(t.Context())
	check.OK(t, err)
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(dt), Size: int64(len(dt))}
	check.OK(t, content.WriteBlob(ctx, w.st.Content(), "index", bytes.NewReader(dt), d))
	_, err = w.st.Images().Create(ctx, images.Image{Name: ref, Target: d})
	check.OK(t, err)
	check.OK(t, release(ctx))

	arm := &pb.Platform{OS: "linux", Architecture: "arm64"}
	check.Equal(t, "arm64", w.mustKeys(ref, arm)[0], "image "+digestOf(t, theirs).String())
	check.Equal(t, "s390x", w.mustKeys(ref, &pb.Platform{OS: "linux", Architecture: "s390x"})[0], "image "+digestOf(t, mine).String())
	w.reg.HTTP.Close()
	_, err = w.keys(ref, arm)
	check.Says(t, err, "refused", "linux/s390x")
}

func TestAttributes(t *testing.T) {
	w := newWorld(t)
	img := picture(t, runtime.GOARCH, layer(t, "a", "1"), layer(t, "b", "2"))
	ref := w.reg.Put(t, "app:1", img)
	tree := w.snapshot(ref, pb.AttrImageLayerLimit, "1", pb.AttrImageRecordType, "frontend", pb.AttrImageChecksum, digestOf(t, img).String())
	got, err := w.read(tree, "a", "b")
	check.OK(t, err)
	check.Equal(t, "files", got, "1 -")
	check.OK(t, tree.Release(t.Context()))
	_, err = w.keys(ref, nil, pb.AttrImageLayerLimit, "3")
	check.Says(t, err, "layer limit 3", "2 layers")
	_, err = w.keys(ref, nil, pb.AttrImageChecksum, digest.FromString("x").String())
	check.Says(t, err, ref, "does not match expected checksum")
	for _, bad := range [][2]string{
		{pb.AttrImageResolveMode, "never"}, {pb.AttrImageLayerLimit, "0"}, {pb.AttrImageLayerLimit, "x"},
		{pb.AttrImageChecksum, "md5:1"}, {pb.AttrImageRecordType, "odd"}, {"image.unknown", "1"},
	} {
		_, err := w.parse(ref, nil, bad[0], bad[1])
		check.Says(t, err, ref, bad[0])
	}
	_, err = w.parse("Bad Name", nil)
	check.Says(t, err, "Bad Name")
}

func TestEmptyImage(t *testing.T) {
	w := newWorld(t)
	tree := w.snapshot(w.reg.Put(t, "none:1", picture(t, runtime.GOARCH)))
	check.Equal(t, "tree", tree == nil, true)
}

func TestResolveMetadata(t *testing.T) {
	w := newWorld(t)
	arm := configured(t, picture(t, "arm64", layer(t, "a", "1")), func(c *v1.ConfigFile) { c.Config.Cmd = []string{"run"} })
	index := mutate.AppendManifests(empty.Index, entry(arm, "linux", "arm64", ""))
	op := &pb.SourceOp{Identifier: "docker-image://" + w.reg.Put(t, "app:1", index)}
	opt := &sourceresolver.ResolveImageOpt{Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"}}
	resp, err := w.src.ResolveMetadata(t.Context(), op, sourceresolver.Opt{ImageOpt: opt})
	check.OK(t, err)
	check.Equal(t, "digest", resp.Image.Digest, digestOf(t, index))
	var config ocispec.Image
	check.OK(t, json.Unmarshal(resp.Image.Config, &config))
	check.Equal(t, "command", config.Config.Cmd[0], "run")

	w.reg.Requests("")
	opt.NoConfig = true
	resp, err = w.src.ResolveMetadata(t.Context(), op, sourceresolver.Opt{ImageOpt: opt})
	check.OK(t, err)
	check.Equal(t, "digest", resp.Image.Digest, digestOf(t, index))
	check.Equal(t, "requests", len(w.reg.Requests("")), 1)
	opt.ResolveMode = "odd"
	_, err = w.src.ResolveMetadata(t.Context(), op, sourceresolver.Opt{ImageOpt: opt})
	check.Says(t, err, "odd")
}

// What a tag stands for is looked up in every build. Where that is known already,
// nothing is written for it.
func TestResolvedAgainWithoutWriting(t *testing.T) {
	w := newWorld(t)
	ref := w.reg.Put(t, "one:1", picture(t, runtime.GOARCH, layer(t, "a", "1")))
	written := func() int64 {
		t.Helper()
		fi, err := os.Stat(filepath.Join(w.root, "metadata.db"))
		check.OK(t, err)
		return fi.ModTime().UnixNano()
	}
	first := written()
	w.mustKeys(ref, nil)
	second := written()
	w.mustKeys(ref, nil)
	if third := written(); first == second || second != third {
		t.Errorf("written at %d, %d, %d", first, second, third)
	}
	w.mustKeys(w.reg.Put(t, "other:1", picture(t, runtime.GOARCH, layer(t, "a", "1"))), nil)
	if written() == second {
		t.Error("another repository that has it is not noted")
	}
}

// What a tag stood for last is known without the registry, where that is asked for.
func TestTagsAreKnown(t *testing.T) {
	w := newWorld(t)
	first, second := picture(t, "amd64", layer(t, "a", "1")), picture(t, "amd64", layer(t, "a", "2"))
	want := map[string]string{}
	for _, step := range []struct {
		name string
		img  v1.Image
	}{{"first", first}, {"second", second}, {"first again", first}} {
		ref := w.reg.Put(t, "app:1", step.img)
		tree := w.snapshot(ref) // which holds the manifest
		t.Cleanup(func() { check.OK(t, tree.Release(context.Background())) })
		keys, err := w.keys(ref, nil)
		check.OK(t, err)
		want[step.name] = keys[0]
		w.reg.Requests("")
		known, err := w.keys(ref, nil, pb.AttrImageResolveMode, pb.AttrImageResolveModePreferLocal)
		check.OK(t, err)
		check.Equal(t, step.name, known[0], keys[0])
		check.Equal(t, "requests", len(w.reg.Requests("")), 0)
	}
	check.Equal(t, "two images have one key", want["first"] == want["second"], false)

	// It is of the reference: not of another tag, or platform.
	w.reg.Put(t, "app:2", second)
	ref := w.reg.Host + "/app:2"
	_, err := w.keys(ref, nil, pb.AttrImageResolveMode, pb.AttrImageResolveModePreferLocal)
	check.OK(t, err)
	check.Equal(t, "asked", len(w.reg.Requests("")) > 0, true)

	// Another process knows it, too, and says so when the registry is down.
	w.open()
	w.reg.Fault("", 1000, registrytest.Status(503))
	_, err = w.keys(w.reg.Host+"/app:1", nil)
	check.Says(t, err, "503", "--pull=missing")
	_, err = w.keys(w.reg.Host+"/app:3", nil)
	if err == nil || strings.Contains(err.Error(), "--pull") {
		t.Errorf("of what is not known: %v", err)
	}
}
