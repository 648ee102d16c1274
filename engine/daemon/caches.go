package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/containerd/containerd/v2/core/content"
	bkclient "github.com/moby/buildkit/client"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/remotecache"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/internal/release"
)

// cacheEntries are caches as BuildKit's client has them. It changes attributes.
func cacheEntries(all []remotecache.Option) (out []bkclient.CacheOptionsEntry) {
	for _, o := range all {
		out = append(out, bkclient.CacheOptionsEntry{Type: o.Type, Attrs: maps.Clone(o.Attrs)})
	}
	return out
}

// checkSigned sees that a daemon which signs and verifies is asked to: others would pass over
// these attributes.
func (c *Client) checkSigned(ctx context.Context, req engine.Request) error {
	for _, o := range append(req.CacheFrom[:len(req.CacheFrom):len(req.CacheFrom)], req.CacheTo...) {
		if o.Attrs["sign"] == "" && o.Attrs["verify"] == "" {
			continue
		}
		info, err := c.bk.Info(ctx)
		if err != nil {
			return said(err)
		}
		if info.BuildkitVersion.Package != release.Package {
			return fmt.Errorf("cache %s: the daemon is %s, which knows no signatures of caches: use tenond, or leave sign= and verify= out", o.Name(), info.BuildkitVersion.Package)
		}
		return nil
	}
	return nil
}

func importEntries(all []remotecache.Option) (out []gwclient.CacheOptionsEntry) {
	for _, o := range all {
		out = append(out, gwclient.CacheOptionsEntry{Type: o.Type, Attrs: o.Attrs})
	}
	return out
}

// withImports are the attributes of the frontend, which names the caches for what it has
// solved.
func withImports(req engine.Request) map[string]string {
	if req.Frontend == "" || len(req.CacheFrom) == 0 {
		return req.FrontendAttrs
	}
	dt, err := json.Marshal(importEntries(req.CacheFrom))
	if err != nil {
		return req.FrontendAttrs // strings can always be written
	}
	attrs := map[string]string{"cache-imports": string(dt)}
	maps.Copy(attrs, req.FrontendAttrs)
	return attrs
}

// cacheStores adds the folders of caches that a session has.
func cacheStores(ctx context.Context, s session.Session, req engine.Request, to map[string]content.Store) error {
	k, ok := s.(session.CacheKeeper)
	if !ok {
		return nil
	}
	var errs error
	for _, all := range [][]remotecache.Option{req.CacheFrom, req.CacheTo} {
		for _, o := range all {
			if o.Type != "local" {
				continue
			}
			path := o.Attrs["src"] + o.Attrs["dest"]
			cs, err := k.Cache(ctx, path)
			if err != nil {
				errs = errors.Join(errs, err)
				continue
			}
			to["local:"+path] = cs
		}
	}
	return errs
}
