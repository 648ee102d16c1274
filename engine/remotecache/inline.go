package remotecache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	types "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
)

// InlineKey is the field of an image's config that has its inline cache.
const InlineKey = "moby.buildkit.cache.v0"

// maxImages bounds how many images of an index are looked at, and maxInline how many bytes of
// their manifests and configs are read: all of their caches are in memory together.
const (
	maxImages = 64
	maxInline = 4 * maxConfig
)

// readInline reads the caches in the configs of an image, or of those of an index.
func readInline(ctx context.Context, from content.Provider, root *manifest) ([]*Graph, error) {
	all := []*manifest{root}
	var size int64
	if root.Config == nil {
		all = nil
		for _, d := range root.Manifests {
			if !images.IsManifestType(d.MediaType) {
				continue
			}
			if len(all) == maxImages {
				return nil, fmt.Errorf("the index has more than %d images", maxImages)
			}
			dt, err := readBlob(ctx, from, d)
			if err != nil {
				return nil, fmt.Errorf("image %s of the index: %w", d.Digest, err)
			}
			m, err := parseManifest(dt)
			if err != nil || m.Config == nil {
				return nil, fmt.Errorf("image %s of the index: %w", d.Digest, errOr(err, errors.New("it has no config")))
			}
			all = append(all, m)
			if size += d.Size + m.Config.Size; size > maxInline || m.Config.Size < 0 {
				return nil, fmt.Errorf("the manifests and configs of the images of the index have more than %d bytes", maxInline)
			}
		}
	}
	var out []*Graph
	for _, m := range all {
		if !images.IsConfigType(m.Config.MediaType) {
			continue // attestations and the like
		}
		g, err := inlineOf(ctx, from, m)
		if err != nil {
			return nil, err
		}
		if g != nil {
			out = append(out, g)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("it is no cache, and no image with an inline cache: one is made with --cache-to type=inline")
	}
	return out, nil
}

// inlineOf reads the cache in the config of an image; nil if there is none.
func inlineOf(ctx context.Context, from content.Provider, m *manifest) (*Graph, error) {
	dt, err := readBlob(ctx, from, *m.Config)
	if err != nil {
		return nil, fmt.Errorf("the image's config: %w", err)
	}
	var img struct {
		Cache   []byte            `json:"moby.buildkit.cache.v0"`
		RootFS  ocispec.RootFS    `json:"rootfs"`
		History []ocispec.History `json:"history"`
	}
	if err := unmarshal(dt, &img); err != nil {
		return nil, fmt.Errorf("the image's config: %w", err)
	}
	if img.Cache == nil {
		return nil, nil
	}
	if len(img.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("the image has %d layers, and its config tells of %d", len(m.Layers), len(img.RootFS.DiffIDs))
	}
	var c types.CacheConfig
	if err := unmarshal(img.Cache, &c.Records); err != nil {
		return nil, fmt.Errorf("the image's inline cache: %w", err)
	}
	made := layersOf(img.History)
	layers := make([]ocispec.Descriptor, len(m.Layers))
	for i, l := range m.Layers {
		var by ocispec.History
		if i < len(made) {
			by = made[i]
		}
		layers[i] = l
		layers[i].Annotations = layerAnnotations(img.RootFS.DiffIDs[i], by.Created)
		layers[i].Annotations[store.AnnotationDescription] = by.CreatedBy
		c.Layers = append(c.Layers, types.CacheLayer{Blob: l.Digest, ParentIndex: i - 1})
	}
	return fromConfig(c, layers)
}

// layersOf are the entries of a history that have a layer each.
func layersOf(history []ocispec.History) (out []ocispec.History) {
	for _, h := range history {
		if !h.EmptyLayer {
			out = append(out, h)
		}
	}
	return out
}

// Inline writes what was collected as the inline cache of an image of these layers; nil if
// nothing of it is in the image. An image's layers are known by their diff IDs, too: the blob
// of a layer may be another one in the image.
func Inline(g *Graph, blobs, diffIDs []digest.Digest) ([]byte, error) {
	at := make(map[digest.Digest]int32, 2*len(blobs))
	for i := len(blobs) - 1; i >= 0; i-- {
		at[diffIDs[i]], at[blobs[i]] = int32(i), int32(i)
	}
	begins := beginnings(g, at)
	in := &Graph{records: make([]record, len(g.records)), layers: make([]layer, len(blobs))}
	for i := range in.layers {
		in.layers[i] = layer{desc: ocispec.Descriptor{Digest: blobs[i]}, parent: int32(i - 1), id: fmt.Sprintf("%08d", i)}
	}
	for n, r := range g.records {
		in.records[n] = record{id: r.id, digest: r.digest, inputs: make([][]link, len(r.inputs))}
		for i, alternatives := range r.inputs {
			in.records[n].inputs[i] = append([]link(nil), alternatives...)
		}
		for _, res := range r.results {
			if res, ok := within(g, res, at, begins); ok {
				in.records[n].results = append(in.records[n].results, res)
			}
		}
	}
	if in.prune(); len(in.records) == 0 {
		return nil, nil
	}
	// The layers are the image's, in its order.
	_, records := in.orderedRecords()
	layers := make([]int32, len(in.layers))
	for i := range layers {
		layers[i] = int32(i)
	}
	out := make([]types.CacheRecord, len(in.records))
	for n, r := range in.records {
		out[records[n]] = in.configRecord(r, records, layers)
	}
	return json.Marshal(out)
}

// placeOf is where a layer is in an image: at is what place it has by its digest or its diff ID.
func placeOf(desc ocispec.Descriptor, at map[digest.Digest]int32) (int32, bool) {
	n, ok := at[desc.Digest]
	if !ok {
		n, ok = at[digest.Digest(desc.Annotations[annotationDiffID])]
	}
	return n, ok
}

// beginnings says of each layer of a graph whether it and those below it are the first ones of
// an image. Those below come before it.
func beginnings(g *Graph, at map[digest.Digest]int32) []bool {
	out := make([]bool, len(g.layers))
	for i, l := range g.layers {
		n, ok := placeOf(l.desc, at)
		out[i] = ok && n == l.depth-1 && (l.parent < 0 || out[l.parent])
	}
	return out
}

// within is a result as layers of an image, if it has them all: the first ones of it, or
// some of them.
func within(g *Graph, res result, at map[digest.Digest]int32, begins []bool) (result, bool) {
	out := result{id: res.id, top: -1, createdAt: res.createdAt}
	if res.top >= 0 && begins[res.top] {
		out.top = g.layers[res.top].depth - 1
		return out, true
	}
	first := true
	for i, desc := range g.stack(res) {
		n, ok := placeOf(desc, at)
		if !ok {
			return result{}, false
		}
		first = first && n == int32(i)
		out.list = append(out.list, n)
	}
	if first && len(out.list) > 0 {
		out.top, out.list = out.list[len(out.list)-1], nil
	}
	return out, out.top >= 0 || len(out.list) > 0
}
