package provenance

import (
	"maps"
	"slices"
	"strings"

	slsa "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/common"
	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/util/urlutil"
)

// Args are the attributes of a frontend as they are told: without what is of this machine,
// of caches, or of provenance itself, and without credentials.
func Args(attrs map[string]string) map[string]string {
	context := "context"
	if key := attrs["contextkey"]; key != "" {
		context = key
	}
	out := map[string]string{}
	for k, v := range attrs {
		if slices.Contains([]string{"cgroup-parent", "image-resolve-mode", "platform", "cache-imports"}, k) || strings.HasPrefix(k, "attest:") {
			continue
		}
		if k == context || strings.HasPrefix(k, "context:") {
			v = urlutil.RedactCredentials(v)
		}
		out[k] = v
	}
	return out
}

// Request is a request as provenance tells it: where its context and its Dockerfile are
// from is the source of the configuration, and the rest are parameters.
func Request(frontend string, args map[string]string, srcs types.Sources) *types.RequestProvenance {
	args = maps.Clone(args)
	context := "context"
	if key := args["contextkey"]; key != "" {
		context = key
	} else if args["input:context"] != "" {
		context = "input:context"
	}
	r := &types.RequestProvenance{Request: &types.Parameters{Frontend: frontend}}
	if v := args[context]; v != "" {
		r.ConfigSource.URI = v
		if m, ok := material(srcs, v); ok {
			r.ConfigSource.URI, r.ConfigSource.Digest = m.URI, m.Digest
		}
		r.ConfigSource.URI = urlutil.RedactCredentials(r.ConfigSource.URI)
		delete(args, context)
	}
	if v := args["filename"]; v != "" {
		r.ConfigSource.Path = v
		delete(args, "filename")
	}
	if len(args) > 0 {
		r.Request.Args = args
	}
	return r
}

// material is what a URL has been resolved to.
func material(srcs types.Sources, uri string) (slsa.ProvenanceMaterial, bool) {
	shown := uri
	if formatted, ok := dfgitutil.FragmentFormat(uri, true); ok {
		shown = formatted
	}
	uri, _ = dfgitutil.FragmentFormat(uri, false)
	for _, s := range srcs.Git {
		if s.URL == uri {
			return slsa.ProvenanceMaterial{URI: shown, Digest: commitDigest(s.Commit)}, true
		}
	}
	for _, s := range srcs.HTTP {
		if s.URL == uri {
			return slsa.ProvenanceMaterial{URI: s.URL, Digest: digestSet(s.Digest)}, true
		}
	}
	return slsa.ProvenanceMaterial{}, false
}

// withoutDetails leaves out what mode=min keeps to itself: build arguments, labels, and
// the names of secrets. It says whether the request is less than it was.
func withoutDetails(p *types.Parameters) (less bool) {
	if p == nil {
		return false
	}
	p.Args = maps.Clone(p.Args)
	maps.DeleteFunc(p.Args, func(k, _ string) bool {
		detail := strings.HasPrefix(k, "build-arg:") || strings.HasPrefix(k, "label:")
		less = less || detail
		return detail
	})
	p.Secrets, p.SSH = nil, nil
	for _, in := range p.Inputs {
		if in != nil {
			less = withoutDetails(in.Request) || less
		}
	}
	if p.Root != nil {
		less = withoutDetails(p.Root.Request) || less
	}
	return less
}
