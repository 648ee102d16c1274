// Package images is the images in a store, as people work with them: to find one by
// its name or a digest, to list, name and remove them, and to bring them in and out as
// archives and by registries. What a build makes comes there by engine/export.
//
// An image is a manifest, or an index of manifests for several platforms. It has the
// digest of that, and for each platform the digest of its configuration, which docker
// calls the image's ID. It has any number of names; one that has lost its last stays
// until it is pruned (see store.IsUntagged).
package images

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/store"
)

// maxDocument is how many bytes a manifest, an index or a configuration may have.
const maxDocument = 8 << 20

// maxManifests is how many manifests an index may have.
const maxManifests = 1000

// Images are the images of a store. Its methods may be called concurrently.
type Images struct{ st *store.Store }

// New returns the images of a store.
func New(st *store.Store) *Images { return &Images{st: st} }

// Image is an image in the store.
type Image struct {
	// Target is the manifest or index.
	Target ocispec.Descriptor
	// Names are its names in full, sorted; none if it has lost them.
	Names []string
	// Platforms has an element for each platform; that of this machine is first, if it
	// is there.
	Platforms []Platform
	// Size is of all blobs that are here, in bytes.
	Size int64
	// Updated is when a name was last given to it.
	Updated time.Time

	records []images.Image
}

// Platform is an image for one platform.
type Platform struct {
	ocispec.Platform
	Manifest ocispec.Descriptor
	// Config is the digest of the configuration; "" if the manifest is not here.
	Config digest.Digest
	// Layers are the layers' digests.
	Layers []digest.Digest
	// Image is the configuration itself; nil if it is not here.
	Image *dockerspec.DockerOCIImage
	// Complete says that all blobs are here.
	Complete bool
	// Size is of its blobs that are here.
	Size int64
}

// ID is what docker calls the image's ID, for the first platform: the digest of the
// configuration. Where that is not known it is the digest of the target.
func (i *Image) ID() digest.Digest {
	if len(i.Platforms) > 0 && i.Platforms[0].Config != "" {
		return i.Platforms[0].Config
	}
	return i.Target.Digest
}

// Created is when the image for the first platform was made; the zero time if it does
// not say.
func (i *Image) Created() time.Time {
	if len(i.Platforms) > 0 && i.Platforms[0].Image != nil && i.Platforms[0].Image.Created != nil {
		return *i.Platforms[0].Image.Created
	}
	return time.Time{}
}

// digests are all by which the image can be named.
func (i *Image) digests() []digest.Digest {
	out := []digest.Digest{i.Target.Digest}
	for _, p := range i.Platforms {
		out = append(out, p.Manifest.Digest, p.Config)
	}
	return out
}

// List returns all images, the last named first. What cannot be read of one is left
// out of it.
func (x *Images) List(ctx context.Context) ([]*Image, error) {
	ctx = x.st.Context(ctx)
	all, err := x.st.Images().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	byDigest := map[digest.Digest]*Image{}
	var out []*Image
	for _, rec := range all {
		img := byDigest[rec.Target.Digest]
		if img == nil {
			img = &Image{Target: rec.Target}
			byDigest[rec.Target.Digest] = img
			out = append(out, img)
			x.read(ctx, img)
		}
		img.records = append(img.records, rec)
		if !store.IsUntagged(rec.Name) {
			img.Names = append(img.Names, rec.Name)
		}
		if rec.UpdatedAt.After(img.Updated) {
			img.Updated = rec.UpdatedAt
		}
	}
	for _, img := range out {
		slices.Sort(img.Names)
	}
	slices.SortStableFunc(out, func(a, b *Image) int {
		return cmp.Or(b.Updated.Compare(a.Updated), strings.Compare(a.Target.Digest.String(), b.Target.Digest.String()))
	})
	return out, nil
}

// read looks at what an image is made of.
func (x *Images) read(ctx context.Context, img *Image) {
	seen := map[digest.Digest]int64{}
	img.Platforms = x.platforms(ctx, img.Target, seen, 0)
	for _, n := range seen {
		img.Size += n
	}
	here := platforms.Default()
	slices.SortStableFunc(img.Platforms, func(a, b Platform) int {
		return cmp.Compare(rank(here, a.Platform), rank(here, b.Platform))
	})
}

// rank is 0 for what runs here, 1 for the rest.
func rank(here platforms.MatchComparer, p ocispec.Platform) int {
	if here.Match(p) {
		return 0
	}
	return 1
}

func (x *Images) platforms(ctx context.Context, desc ocispec.Descriptor, seen map[digest.Digest]int64, depth int) (out []Platform) {
	if images.IsManifestType(desc.MediaType) {
		if p := x.platform(ctx, desc, seen); p.OS != "unknown" { // that of attestations
			return []Platform{p}
		}
		return nil
	}
	var idx ocispec.Index
	if depth > 2 || x.document(ctx, desc, &idx, seen) != nil {
		return nil
	}
	for _, m := range idx.Manifests[:min(len(idx.Manifests), maxManifests)] {
		out = append(out, x.platforms(ctx, m, seen, depth+1)...)
	}
	return out
}

func (x *Images) platform(ctx context.Context, desc ocispec.Descriptor, seen map[digest.Digest]int64) Platform {
	p := Platform{Manifest: desc}
	if desc.Platform != nil {
		p.Platform = *desc.Platform
	}
	own := map[digest.Digest]int64{}
	var m ocispec.Manifest
	if x.document(ctx, desc, &m, own) != nil {
		return p
	}
	p.Config, p.Complete = m.Config.Digest, true
	var config dockerspec.DockerOCIImage
	if x.document(ctx, m.Config, &config, own) == nil {
		p.Image = &config
		if p.OS == "" {
			p.Platform = config.Platform
		}
	} else {
		p.Complete = false
	}
	for _, l := range m.Layers {
		p.Layers = append(p.Layers, l.Digest)
		if info, err := x.st.Content().Info(ctx, l.Digest); err == nil {
			own[l.Digest] = info.Size
		} else {
			p.Complete = false
		}
	}
	for d, n := range own {
		seen[d] = n
		p.Size += n
	}
	return p
}

// document reads a manifest, an index or a configuration.
func (x *Images) document(ctx context.Context, desc ocispec.Descriptor, into any, seen map[digest.Digest]int64) error {
	info, err := x.st.Content().Info(ctx, desc.Digest)
	if err != nil {
		return err
	}
	seen[desc.Digest] = info.Size
	if info.Size > maxDocument {
		return fmt.Errorf("%s: %d bytes are too many for a manifest or a configuration", desc.Digest, info.Size)
	}
	desc.Size = info.Size
	dt, err := content.ReadBlob(ctx, x.st.Content(), desc)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(dt, into); err != nil {
		return fmt.Errorf("%s: %w", desc.Digest, err)
	}
	return nil
}

// Familiar is a name as people give it: "docker.io/library/app:latest" is "app:latest".
func Familiar(name string) string {
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(n)
}

// fullName is a name in full, with a tag unless it has a digest.
func fullName(name string) (string, error) {
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", badName(name, err)
	}
	return reference.TagNameOnly(n).String(), nil
}

// badName is the error of a name that cannot be. The name is in what is said of it,
// too, as it came.
func badName(name string, err error) error {
	return fmt.Errorf("image name %.200q: %.300s", name, strings.Trim(strconv.Quote(err.Error()), `"`))
}
