package export

import (
	"fmt"
	"maps"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// annotations are what annotation* attributes ask for, by where they go. The inner
// key of those of manifests is a platform ("linux/arm64"), or "" for all.
type annotations struct {
	index, indexDescriptor map[string]string
	manifest, descriptor   map[string]map[string]string
}

// annotations reads the annotation* attributes. Their form is BuildKit's (see
// docs/annotations.md there): annotation[-TYPE][[PLATFORM]].KEY.
func (a *attrs) annotations() annotations {
	var out annotations
	for _, k := range sortedKeys(a.left) {
		key, is, err := exptypes.ParseAnnotationKey(k)
		if !is {
			continue
		}
		v, _ := a.text(k)
		if err != nil {
			a.fail("%q: %w", k, err)
			continue
		}
		out.add(key, v)
	}
	return out
}

func (a *annotations) add(key exptypes.AnnotationKey, value string) {
	put := func(m *map[string]string) {
		if *m == nil {
			*m = map[string]string{}
		}
		(*m)[key.Key] = value
	}
	putFor := func(m *map[string]map[string]string) {
		if *m == nil {
			*m = map[string]map[string]string{}
		}
		inner := (*m)[key.PlatformString()]
		put(&inner)
		(*m)[key.PlatformString()] = inner
	}
	switch key.Type {
	case exptypes.AnnotationIndex:
		put(&a.index)
	case exptypes.AnnotationIndexDescriptor:
		put(&a.indexDescriptor)
	case exptypes.AnnotationManifest:
		putFor(&a.manifest)
	case exptypes.AnnotationManifestDescriptor:
		putFor(&a.descriptor)
	}
}

// with are the annotations of the frontend's metadata, overridden by those of the
// output. Metadata that only looks like an annotation is left alone.
func (a annotations) with(meta map[string][]byte) annotations {
	var out annotations
	for _, k := range sortedKeys(meta) {
		if key, is, err := exptypes.ParseAnnotationKey(k); is && err == nil {
			out.add(key, string(meta[k]))
		}
	}
	out.index = merged(out.index, a.index)
	out.indexDescriptor = merged(out.indexDescriptor, a.indexDescriptor)
	out.manifest = mergedFor(out.manifest, a.manifest)
	out.descriptor = mergedFor(out.descriptor, a.descriptor)
	return out
}

// ofManifest and ofDescriptor are those of one platform's manifest, and of the
// descriptor that refers to it.
func (a annotations) ofManifest(p *ocispec.Platform) map[string]string { return pick(a.manifest, p) }
func (a annotations) ofDescriptor(p *ocispec.Platform) map[string]string {
	return pick(a.descriptor, p)
}

func pick(m map[string]map[string]string, p *ocispec.Platform) map[string]string {
	out := merged(nil, m[""])
	if p != nil {
		out = merged(out, m[platforms.FormatAll(platforms.Normalize(*p))])
	}
	return out
}

// check refuses what the image to be written has no place for.
func (a annotations) check(src *Source, form imageForm) error {
	if !form.oci && len(a.index)+len(a.indexDescriptor)+len(a.descriptor) > 0 {
		return fmt.Errorf("annotations of anything but manifests need OCI media types: drop oci-mediatypes=false")
	}
	if !src.isMap() && !form.attested(src) && len(a.index)+len(a.indexDescriptor) > 0 {
		return fmt.Errorf("annotation-index needs an index, and a result for one platform has none: use annotation. or annotation-manifest., or build several platforms")
	}
	have := map[string]bool{"": true}
	for _, p := range src.Platforms {
		if p.Platform != nil {
			have[platforms.FormatAll(platforms.Normalize(*p.Platform))] = true
		}
	}
	for _, m := range []map[string]map[string]string{a.manifest, a.descriptor} {
		for _, p := range sortedKeys(m) {
			if !have[p] {
				return fmt.Errorf("annotation[%s]: that platform is not built", p)
			}
		}
	}
	return nil
}

func merged(under, over map[string]string) map[string]string {
	if len(under)+len(over) == 0 {
		return nil
	}
	out := map[string]string{}
	maps.Copy(out, under)
	maps.Copy(out, over)
	return out
}

func mergedFor(under, over map[string]map[string]string) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, m := range []map[string]map[string]string{under, over} {
		for p, inner := range m {
			out[p] = merged(out[p], inner)
		}
	}
	return out
}
