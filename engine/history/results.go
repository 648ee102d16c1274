package history

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	intoto "github.com/in-toto/in-toto-golang/in_toto"
	controlapi "github.com/moby/buildkit/api/services/control"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxResults is how many bytes are kept of the results of a build.
const maxResults = 64 << 20

// errTooLarge says that something of a build is not kept.
var errTooLarge = fmt.Errorf("what is to be kept of the build's results has more than %d bytes", maxResults)

// predicateType is the annotation that says what a statement is of.
const predicateType = "in-toto.io/predicate-type"

// Provenance adds how a result was built: that of a platform, or that of the build ("").
func (r *Recording) Provenance(platform, kind string, predicate []byte) error {
	if err := r.spend(int64(len(predicate))); err != nil {
		return err
	}
	desc, err := r.write(predicate, intoto.PayloadType)
	if err != nil {
		return err
	}
	desc.Annotations = map[string]string{predicateType: kind}
	info := r.info(platform)
	info.Attestations = append(info.Attestations, desc)
	return nil
}

// Image adds the image that an output has written, the n-th of the request: all that it is
// made of but for its layers. An error says that this could not be kept; the record names
// the image anyway.
func (r *Recording) Image(ctx context.Context, n int, from content.Provider, desc ocispec.Descriptor) error {
	info := r.info("")
	if info.Results == nil {
		info.Results = map[int64]*controlapi.Descriptor{}
	}
	d := &controlapi.Descriptor{
		MediaType: desc.MediaType, Digest: desc.Digest.String(), Size: desc.Size, Annotations: desc.Annotations,
	}
	info.Results[int64(n)] = d
	info.ResultDeprecated = info.Results[slices.Min(slices.Collect(maps.Keys(info.Results)))] // for clients that know of one
	list, err := described(ctx, from, desc)
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(list) { // those that others name come first
		if err := r.copy(ctx, from, d); err != nil {
			return fmt.Errorf("blob %s: %w", d.Digest, err)
		}
	}
	return nil
}

func (r *Recording) copy(ctx context.Context, from content.Provider, desc ocispec.Descriptor) error {
	if slices.Contains(r.held, desc.Digest) {
		return nil
	}
	if err := r.spend(desc.Size); err != nil {
		return err
	}
	dt, err := content.ReadBlob(ctx, from, desc)
	if err != nil {
		return err
	}
	d, err := r.write(dt, desc.MediaType)
	if err == nil && d.Digest != desc.Digest.String() {
		err = errors.New("it is damaged")
	}
	return err
}

func (r *Recording) info(platform string) *controlapi.BuildResultInfo {
	if platform == "" {
		if r.result == nil {
			r.result = &controlapi.BuildResultInfo{}
		}
		return r.result
	}
	if r.results == nil {
		r.results = map[string]*controlapi.BuildResultInfo{}
	}
	if r.results[platform] == nil {
		r.results[platform] = &controlapi.BuildResultInfo{}
	}
	return r.results[platform]
}

func (r *Recording) spend(size int64) error {
	if size < 0 || size > r.left {
		return errTooLarge
	}
	r.left -= size
	return nil
}

// described are the blobs that an image is made of, itself first, but for its layers. With
// an error come those that were found.
func described(ctx context.Context, from content.Provider, desc ocispec.Descriptor) (all []ocispec.Descriptor, err error) {
	left := int64(maxResults)
	var add func(d ocispec.Descriptor) error
	add = func(d ocispec.Descriptor) error {
		if images.IsLayerType(d.MediaType) {
			return nil
		}
		if left -= max(d.Size, 1); d.Size < 0 || left < 0 {
			return errTooLarge
		}
		all = append(all, d)
		below, err := images.Children(ctx, from, d)
		for _, c := range below {
			err = errors.Join(err, add(c))
		}
		return err
	}
	err = add(desc)
	return all, err
}
