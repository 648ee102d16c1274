package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/result"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/store"
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
	solve := func(ref gwclient.Reference, to **store.Ref) error {
		if ref == nil {
			return nil // the empty tree
		}
		r, ok := ref.(*frontend.Reference)
		if !ok || r == nil {
			return fmt.Errorf("the frontend returned a reference that it did not get from its client: %T", ref)
		}
		eg.Go(func() (err error) {
			*to, err = r.Ref(ctx)
			return err
		})
		return nil
	}
	for i, ref := range refs {
		p := &src.Platforms[i]
		err := solve(ref, &p.Ref)
		given := attestationsOf(res, p.ID)
		p.Attestations = make([]export.Attestation, len(given))
		for n, a := range given {
			if err == nil {
				p.Attestations[n].Attestation = result.Attestation[*store.Ref]{
					Kind: a.Kind, Metadata: a.Metadata, Path: a.Path, ContentFunc: a.ContentFunc, InToto: a.InToto,
				}
				err = solve(a.Ref, &p.Attestations[n].Ref)
			}
		}
		if err != nil {
			return nil, errors.Join(err, eg.Wait())
		}
	}
	if err := eg.Wait(); err != nil {
		return nil, err
	}
	return src, nil
}

// attestationsOf are what a frontend says of a platform; "" is the one that it did not
// name, which attestations know by the platform that is meant.
func attestationsOf(res *gwclient.Result, platform string) []result.Attestation[gwclient.Reference] {
	if platform == "" {
		if list, err := exptypes.ParsePlatforms(res.Metadata); err == nil {
			platform = list.Platforms[0].ID
		}
	}
	return res.Attestations[platform]
}

// layOut puts a frontend's references in the order of its platforms.
func layOut(res *gwclient.Result) (*export.Source, []gwclient.Reference, error) {
	src := &export.Source{Metadata: res.Metadata, MultiPlatform: len(res.Refs) > 0}
	var refs []gwclient.Reference
	said := res.Metadata[exptypes.ExporterPlatformsKey] != nil
	if !said && len(res.Refs) == 0 {
		if res.Ref == nil && isAnswer(res.Metadata) {
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

// isAnswer says whether a result without a tree is the answer to a subrequest, and not an
// empty tree: see BuildKit's frontend/subrequests.
func isAnswer(metadata map[string][]byte) bool {
	for _, key := range []string{"result.json", "result.txt"} {
		if _, ok := metadata[key]; ok {
			return true
		}
	}
	return false
}

// eachReference calls fn with the references of a result, but for empty trees, and with which
// of its platforms each is.
func eachReference(res *gwclient.Result, fn func(i int, r *frontend.Reference) error) error {
	_, refs, err := layOut(res)
	if err != nil {
		return err
	}
	for i, ref := range refs {
		r, ok := ref.(*frontend.Reference)
		if !ok || r == nil {
			continue
		}
		if err := fn(i, r); err != nil {
			return err
		}
	}
	return nil
}
