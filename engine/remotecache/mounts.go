package remotecache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	types "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/store"
)

// Mount is what a cache mount (RUN --mount=type=cache) had, as a layer.
type Mount struct {
	ID        string // as LLB has it
	Layer     ocispec.Descriptor
	CreatedAt time.Time
}

// ownConfig is BuildKit's config with fields of Tenon's own, which BuildKit passes over.
type ownConfig struct {
	types.CacheConfig
	Mounts []configMount `json:"tenon.mounts,omitempty"`
	// Signature is that of a config which describes its layers itself, as it is without.
	Signature []byte `json:"tenon.signature,omitempty"`
}

type configMount struct {
	ID        string        `json:"id"`
	MediaType string        `json:"mediaType"`
	Blob      digest.Digest `json:"blob"`
	Size      int64         `json:"size"`
	DiffID    digest.Digest `json:"diffID"`
	CreatedAt time.Time     `json:"createdAt"`
}

// maxMounts bounds the cache mounts of a cache, and maxMountID the bytes of their IDs.
const (
	maxMounts  = 1000
	maxMountID = 4096
)

func (g *Graph) configMounts() (out []configMount) {
	for _, m := range g.mounts {
		out = append(out, configMount{
			ID: m.ID, MediaType: m.Layer.MediaType, Blob: m.Layer.Digest, Size: m.Layer.Size,
			DiffID: digest.Digest(m.Layer.Annotations[annotationDiffID]), CreatedAt: m.CreatedAt.UTC(),
		})
	}
	slices.SortFunc(out, func(a, b configMount) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

func (g *Graph) addMounts(in []configMount) error {
	if len(in) > maxMounts {
		return fmt.Errorf("the cache has %d cache mounts, and at most %d are read", len(in), maxMounts)
	}
	seen := map[string]bool{}
	for n, m := range in {
		bad := func(why string, args ...any) error {
			return fmt.Errorf("cache mount %d of the cache's config: %s", n, fmt.Sprintf(why, args...))
		}
		switch {
		case m.ID == "" || len(m.ID) > maxMountID || seen[m.ID]:
			return bad("its ID is empty, too long, or another's, too")
		case m.Blob.Validate() != nil || m.DiffID.Validate() != nil:
			return bad("it has no digests")
		case m.Size < 0 || !images.IsLayerType(m.MediaType):
			return bad("it is no layer: it has the media type %q and %d bytes", m.MediaType, m.Size)
		}
		seen[m.ID] = true
		g.mounts = append(g.mounts, Mount{ID: m.ID, CreatedAt: m.CreatedAt, Layer: ocispec.Descriptor{
			MediaType: m.MediaType, Digest: m.Blob, Size: m.Size, Annotations: map[string]string{annotationDiffID: m.DiffID.String()},
		}})
	}
	return nil
}

// LendMount makes a tree of the newest that imports have of a cache mount, whose layer is
// fetched when it is read; nil if they have nothing. It waits until they have been read. The
// Ref is the caller's.
func LendMount(ctx context.Context, imports []*Import, id string) (*store.Ref, error) {
	for _, m := range imports {
		select {
		case <-m.loaded:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	have, m := newestOf(imports, id)
	if have == nil {
		return nil, nil
	}
	return m.store.FromLayers(ctx, []ocispec.Descriptor{have.Layer}, m.layers, store.NewOptions{
		Description: "cache mount " + id + " from " + m.id, CreatedAt: have.CreatedAt,
	})
}

// newestOf finds the newest that those which have been read have of a cache mount; nil if
// there is none.
func newestOf(imports []*Import, id string) (newest *Mount, from *Import) {
	for _, i := range imports {
		select {
		case <-i.loaded:
		default:
			continue
		}
		i.mu.Lock()
		for _, f := range i.finders {
			for n, m := range f.graph.mounts {
				if m.ID == id && (newest == nil || m.CreatedAt.After(newest.CreatedAt)) {
					newest, from = &f.graph.mounts[n], i
				}
			}
		}
		i.mu.Unlock()
	}
	return newest, from
}

// Mounts are the cache mounts that go into an export.
type Mounts struct {
	// Used are those that steps of the build have used, and Named those of its definition.
	Used, Named map[string]bool
	// Skipped is told of one that cannot be packed now.
	Skipped func(id string, err error)
	// Lacks is told of files of one that cannot go along.
	Lacks func(id string, names []string)
}

// addMounts adds cache mounts: those that were used as they are now, and of the others what
// an import has that is the newest, or else what there is here, as old as that is.
func (g *Gathered) addMounts(ctx context.Context, e Extent, from Mounts, st *store.Store, imports []*Import, l *layerList) error {
	for _, id := range slices.Sorted(maps.Keys(from.Named)) {
		if !e.Mounts.takes(id) {
			continue
		}
		was, source := newestOf(imports, id)
		if from.Used[id] || was == nil {
			packed, err := st.CacheMountLayer(ctx, id, e.Layers)
			if err != nil && !errors.Is(err, store.ErrCacheMountInUse) {
				return err
			}
			if err != nil {
				from.Skipped(id, err)
			}
			if packed != nil {
				if len(packed.Lost) > 0 {
					from.Lacks(id, packed.Lost)
				}
				g.packed = append(g.packed, packed)
				l.add(packed.Descriptor, packed)
				g.mounts = append(g.mounts, Mount{ID: id, Layer: packed.Descriptor, CreatedAt: age(packed, from.Used[id], was)})
				continue
			}
		}
		if was != nil {
			l.add(was.Layer, source.layers)
			g.mounts = append(g.mounts, *was)
		}
	}
	return nil
}

// age is since when a cache mount is as it was packed, as far as that is known: what an import
// has just so is as old as that.
func age(packed *store.CacheLayer, used bool, was *Mount) time.Time {
	switch {
	case was != nil && was.Layer.Digest == packed.Descriptor.Digest:
		return was.CreatedAt
	case used:
		return time.Now()
	}
	return packed.CreatedAt
}

// MountChoice says which cache mounts are exported.
type MountChoice struct {
	All bool
	IDs []string
}

// takes says whether a cache mount is among them. The Dockerfile frontend puts a slash before
// the id of a Dockerfile.
func (c MountChoice) takes(id string) bool {
	return c.All || slices.ContainsFunc(c.IDs, func(named string) bool { return path.Clean("/"+named) == path.Clean("/"+id) })
}

// mounts reads which cache mounts go along: all that the build has, or some.
func (a *attrs) mounts() MountChoice {
	v := a.Attrs["mounts"]
	if v == "" {
		return MountChoice{}
	}
	if all, err := strconv.ParseBool(v); err == nil {
		return MountChoice{All: all}
	}
	return MountChoice{IDs: strings.Split(v, ",")}
}
