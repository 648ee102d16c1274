package control

import (
	"maps"
	"strconv"

	controlapi "github.com/moby/buildkit/api/services/control"

	"github.com/tenonbuild/tenon/engine/remotecache"
)

// imports are the caches that a request wants to be read, also in the words of old clients.
// What is wrong with one is told in progress.
func imports(req *controlapi.SolveRequest) []remotecache.Option {
	var out []remotecache.Option
	for _, ref := range req.Cache.GetImportRefsDeprecated() {
		out = append(out, remotecache.Option{Type: "registry", Attrs: map[string]string{"ref": ref}, Lenient: true})
	}
	for _, x := range req.Cache.GetImports() {
		out = append(out, remotecache.Option{Type: x.GetType(), Attrs: x.GetAttrs(), Lenient: true})
	}
	return out
}

// cacheExports are the caches that a request wants to be written. What buildkitd passes over
// is passed over.
func cacheExports(req *controlapi.SolveRequest) []remotecache.Option {
	var out []remotecache.Option
	add := func(kind string, attrs map[string]string) {
		attrs = maps.Clone(attrs)
		if m := attrs["mode"]; m != "min" && m != "max" {
			delete(attrs, "mode")
		}
		if _, err := strconv.ParseBool(attrs["ignore-error"]); err != nil {
			delete(attrs, "ignore-error")
		}
		out = append(out, remotecache.Option{Type: kind, Attrs: attrs})
	}
	if ref := req.Cache.GetExportRefDeprecated(); ref != "" {
		attrs := map[string]string{"ref": ref}
		maps.Copy(attrs, req.Cache.GetExportAttrsDeprecated())
		add("registry", attrs)
	}
	for _, x := range req.Cache.GetExports() {
		add(x.GetType(), x.GetAttrs())
	}
	return out
}
