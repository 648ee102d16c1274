package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// cacheExport is a cache that a build writes.
type cacheExport struct {
	remotecache.Option
	remotecache.Extent
	to    remotecache.Destination // nil: into images
	ahead *remotecache.Ahead      // nil: nothing is brought ahead
}

// checkCaches checks the caches that a request names, and returns those to be written.
func (e *Engine) checkCaches(req *Request) ([]cacheExport, error) {
	for _, o := range req.CacheFrom {
		if _, err := remotecache.From(e.caches, o); err != nil && !o.Lenient {
			return nil, err
		}
		if err := unmixed(req, o); err != nil {
			return nil, err
		}
	}
	var out []cacheExport
	for _, o := range req.CacheTo {
		to, extent, err := remotecache.To(e.caches, o)
		if err != nil {
			return nil, err
		}
		out = append(out, cacheExport{Option: o, Extent: extent, to: to})
	}
	return out, nil
}

// unmixed sees that nothing is signed that anybody may have written: what a build takes from
// a cache, it vouches for.
func unmixed(req *Request, from remotecache.Option) error {
	signs := slices.ContainsFunc(req.CacheTo, func(o remotecache.Option) bool { return o.Attrs["sign"] != "" })
	if signs && from.Attrs["verify"] == "" {
		return fmt.Errorf("the build signs a cache, and would take things from the cache %s, which is not verified: add verify=KEY there", from.Name())
	}
	return nil
}

// exportCaches writes the caches that the request names, of what was built. What they have
// to say is for the client. An error of one that may fail is shown, and is none.
func (b *build) exportCaches(ctx context.Context, of []solver.CachedResult) ([]map[string]string, error) {
	said := make([]map[string]string, len(b.cacheExports))
	var errs error
	for i, x := range b.cacheExports {
		if x.to == nil {
			continue
		}
		got, err := b.exportCache(ctx, x, of)
		said[i] = got
		if err != nil && (!x.IgnoreError || ctx.Err() != nil) {
			errs = errors.Join(errs, fmt.Errorf("exporting cache to %s: %w", x.Name(), err))
		}
	}
	return said, errs
}

func (b *build) exportCache(ctx context.Context, x cacheExport, of []solver.CachedResult) (said map[string]string, err error) {
	ctx, end := b.job.Begin(ctx, "exporting cache to "+x.Name())
	defer func() { end(err) }()
	if x.ahead != nil {
		if err := x.ahead.End(ctx); err != nil && !errors.Is(err, store.ErrLost) {
			return nil, err
		}
	}
	said, err = b.writeCache(ctx, x, of)
	// What another cache has lost meanwhile is left out of this one.
	for n := 0; n < maxLost && errors.Is(err, store.ErrLost) && ctx.Err() == nil; n++ {
		said, err = b.writeCache(ctx, x, of)
	}
	return said, err
}

func (b *build) writeCache(ctx context.Context, x cacheExport, of []solver.CachedResult) (_ map[string]string, err error) {
	g, err := b.gather(ctx, x.Extent, of)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Release(context.WithoutCancel(ctx))) }()
	ahead := x.ahead
	if slices.ContainsFunc(b.imports.all(), (*remotecache.Import).Lost) {
		// The cache that is written may be the one that has lost them.
		x.to.Doubt()
		ahead = nil
	}
	return remotecache.Write(ctx, g.Graph, g.Provider, x.to, ahead)
}

// gather collects what leads to results.
func (b *build) gather(ctx context.Context, extent remotecache.Extent, of []solver.CachedResult) (*remotecache.Gathered, error) {
	ctx = store.Exporting(ctx)
	c := remotecache.NewCollector()
	opt := solver.CacheExportOpt{Mode: extent.Mode, Convert: c.Convert}
	for _, res := range of {
		for _, k := range res.CacheKeys() {
			if k.Exporter == nil {
				continue
			}
			if _, err := k.Exporter.ExportTo(ctx, c, opt); err != nil {
				return nil, errors.Join(err, c.Release(context.WithoutCancel(ctx)))
			}
		}
	}
	return c.Gather(ctx, b.engine.store, extent, b.mountsToExport(ctx), b.imports.all())
}

// inlineCaches has images have what of the cache is made of their layers, if the request
// wants that.
func (b *build) inlineCaches(ctx context.Context, res *gwclient.Result, src *export.Source) error {
	at := slices.IndexFunc(b.cacheExports, func(x cacheExport) bool { return x.to == nil })
	if at < 0 {
		return nil
	}
	return eachReference(res, func(i int, r *frontend.Reference) error {
		of, err := r.Result(ctx)
		if err == nil && of != nil {
			src.Platforms[i].InlineCache = b.inlineCache(b.cacheExports[at], of)
		}
		return err
	})
}

func (b *build) inlineCache(x cacheExport, of solver.CachedResult) func(context.Context, []store.Layer) ([]byte, error) {
	return func(ctx context.Context, layers []store.Layer) (_ []byte, err error) {
		g, err := b.gather(ctx, x.Extent, []solver.CachedResult{of})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, g.Release(context.WithoutCancel(ctx))) }()
		var blobs, diffIDs []digest.Digest
		for _, l := range layers {
			blobs, diffIDs = append(blobs, l.Descriptor.Digest), append(diffIDs, l.DiffID)
		}
		return remotecache.Inline(g.Graph, blobs, diffIDs)
	}
}

// cachedResults are the results of a frontend's references, which stay the references'.
func cachedResults(ctx context.Context, res *gwclient.Result) ([]solver.CachedResult, error) {
	var out []solver.CachedResult
	err := res.EachRef(func(ref gwclient.Reference) error {
		r, ok := ref.(*frontend.Reference)
		if !ok || r == nil {
			return nil
		}
		cached, err := r.Result(ctx)
		if err == nil && cached != nil {
			out = append(out, cached)
		}
		return err
	})
	return out, err
}
