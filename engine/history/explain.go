package history

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/tenonbuild/tenon/engine/evictions"
	"github.com/tenonbuild/tenon/engine/why"
)

// Explainer explains a build by earlier ones, by the files and the evictions that are kept.
func (r Reader) Explainer(ctx context.Context, now *why.Build, earlier []*why.Build) *why.Explainer {
	return r.ExplainerWith(ctx, now, earlier, r.Trees())
}

// ExplainerWith is Explainer with other files.
func (r Reader) ExplainerWith(ctx context.Context, now *why.Build, earlier []*why.Build, trees why.Trees) *why.Explainer {
	x := why.NewExplainer(ctx, now, earlier, trees)
	read := sync.OnceValue(func() []evictions.Eviction { return evictions.Read(filepath.Join(r.dir, evictions.Name)) })
	x.Evicted = func(keys []string, after, before time.Time) *why.Eviction {
		e := evictions.Find(read(), keys, after, before)
		if e == nil {
			return nil
		}
		return &why.Eviction{At: e.At, By: e.By, Needed: e.Needed}
	}
	return x
}
