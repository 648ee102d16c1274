package engine

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/frontend"
)

// exportSource solves what a frontend has returned, all platforms at the same
// time, and says what there is to export; nil if that is nothing but metadata.
// Refs stay the references'.
func exportSource(ctx context.Context, res *gwclient.Result) (*export.Source, error) {
	src, refs, err := layOut(res)
	if src == nil || err != nil {
		return nil, err
	}
	eg, ctx := errgroup.WithContext(ctx)
	for i, ref := range refs {
		if ref == nil {
			continue // the empty tree
		}
		r, ok := ref.(*frontend.Reference)
		if !ok || r == nil {
			return nil, fmt.Errorf("the frontend returned a reference that it did not get from its client: %T", ref)
		}
		eg.Go(func() error {
			tree, err := r.Ref(ctx)
			src.Platforms[i].Ref = tree
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, err
	}
	return src, nil
}

// layOut puts a frontend's references in the order of its platforms.
func layOut(res *gwclient.Result) (*export.Source, []gwclient.Reference, error) {
	for id, list := range res.Attestations {
		if len(list) > 0 {
			return nil, nil, fmt.Errorf("the frontend returned attestations for %s: they are not there yet", id)
		}
	}
	src := &export.Source{Metadata: res.Metadata, MultiPlatform: len(res.Refs) > 0}
	var refs []gwclient.Reference
	said := res.Metadata[exptypes.ExporterPlatformsKey] != nil
	if !said && len(res.Refs) == 0 {
		if res.Ref == nil && len(res.Metadata) > 0 && !hasImage(res) {
			return nil, nil, nil
		}
		src.Platforms = []export.Platform{{Config: exptypes.ParseKey(res.Metadata, exptypes.ExporterImageConfigKey, nil)}}
		return src, []gwclient.Reference{res.Ref}, nil
	}
	list, err := exptypes.ParsePlatforms(res.Metadata)
	if err != nil {
		return nil, nil, fmt.Errorf("what the frontend says of its platforms: %w", err)
	}
	for _, p := range list.Platforms {
		ref, ok := res.FindRef(p.ID)
		if !ok {
			return nil, nil, fmt.Errorf("the frontend names the platform %s and has no result for it", p.ID)
		}
		src.Platforms = append(src.Platforms, export.Platform{
			ID: p.ID, Platform: &p.Platform,
			Config: exptypes.ParseKey(res.Metadata, exptypes.ExporterImageConfigKey, &p),
		})
		refs = append(refs, ref)
	}
	if n := len(res.Refs); n > len(refs) {
		return nil, nil, fmt.Errorf("the frontend returned %d results and names %d platforms", n, len(refs))
	}
	return src, refs, nil
}

func hasImage(res *gwclient.Result) bool {
	_, ok := res.Metadata[exptypes.ExporterImageConfigKey]
	return ok
}
