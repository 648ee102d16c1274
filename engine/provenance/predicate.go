package provenance

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/platforms"
	slsa "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/common"
	slsa02 "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v0.2"
	slsa1 "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v1"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/version"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/purl"
	"github.com/moby/buildkit/util/urlutil"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/package-url/packageurl-go"
)

// Options say which provenance is wanted: see Parse.
type Options struct {
	Version      types.ProvenanceSLSA
	Min          bool // leaves out build arguments, steps and the Dockerfile
	InlineOnly   bool // only for outputs that are images
	Reproducible bool // the caller says so
	Complete     bool // what cannot be told is an error
	Usage        bool // tells what the machine had to do
	BuilderID    string
	Filename     string
}

// Parse reads the attributes of a request for provenance, as of "--provenance". What it
// does not know is ignored.
func Parse(attrs map[string]string) (Options, error) {
	o := Options{Version: types.ProvenanceSLSA1, Filename: "provenance.json", BuilderID: attrs["builder-id"]}
	if v, ok := attrs["version"]; ok {
		o.Version = types.ProvenanceSLSA(v)
		if err := o.Version.Validate(); err != nil {
			return o, fmt.Errorf("provenance: version=%q: there are %s and %s", v, types.ProvenanceSLSA1, types.ProvenanceSLSA02)
		}
	}
	if v, ok := attrs["filename"]; ok {
		o.Filename = v
	}
	switch v, ok := attrs["mode"]; {
	case ok && v == "min":
		o.Min = true
	case ok && v != "max" && v != "full":
		return o, fmt.Errorf("provenance: mode=%q: there are min and max", v)
	}
	for key, to := range map[string]*bool{"inline-only": &o.InlineOnly, "reproducible": &o.Reproducible, "complete-materials": &o.Complete, "capture-usage": &o.Usage} {
		v, ok := attrs[key]
		if !ok {
			continue
		}
		b, err := strconv.ParseBool(v)
		if err != nil {
			return o, fmt.Errorf("provenance: %s=%q: say true or false", key, v)
		}
		*to = b
	}
	return o, nil
}

// PredicateType is what statements of it are about.
func (o Options) PredicateType() string {
	if o.Version == types.ProvenanceSLSA02 {
		return slsa02.PredicateSLSAProvenance
	}
	return slsa1.PredicateSLSAProvenance
}

// Build is when and as what something was built.
type Build struct {
	ID                string
	Started, Finished time.Time
	// Env is what the builder has to say of itself.
	Env map[string]any
	// Definition is the LLB of the result.
	Definition *pb.Definition
	// Layers are what the result is written as, the lowest first, the first Base of which
	// are the base image's; -1 if that is not known. None says nothing.
	Layers []ocispec.Descriptor
	Base   int
	// Usage is what the machine had to do meanwhile, if that is to be told.
	Usage []*resourcestypes.SysSample
}

// Predicate is the provenance of what a capture is of, as JSON.
func (o Options) Predicate(c *Capture, b Build) ([]byte, error) {
	p, err := predicate(c)
	if err != nil {
		return nil, err
	}
	meta := p.RunDetails.Metadata
	meta.StartedOn, meta.FinishedOn, meta.InvocationID = &b.Started, &b.Finished, b.ID
	meta.Reproducible, meta.BuildKitMetadata.SysUsage = o.Reproducible, b.Usage
	p.RunDetails.Builder.ID = o.BuilderID
	switch {
	case !o.Min:
		if err := addSteps(p, b); err != nil {
			return nil, err
		}
	case withoutDetails(&p.BuildDefinition.ExternalParameters.Request):
		meta.Completeness.Request = false
	}
	p.BuildDefinition.InternalParameters.ProvenanceCustomEnv = b.Env
	if p.BuildDefinition.ExternalParameters.Request.Frontend == "dockerfile.v0" {
		p.BuildDefinition.InternalParameters.DockerfileVersion = dockerfile.Version()
	}
	if o.Version == types.ProvenanceSLSA02 {
		return json.MarshalIndent(p.ConvertToSLSA02(), "", "  ")
	}
	return json.MarshalIndent(p, "", "  ")
}

// Check says why provenance is not what was wanted of it, if it is not: that it is complete.
func (o Options) Check(c *Capture) error {
	if !o.Complete || c.complete() {
		return nil
	}
	// In BuildKit's words, which clients look for.
	text := "provenance materials are incomplete\n\nThe build requested complete provenance materials, but not all dependencies could be captured."
	var details []*errdefs.ProvenanceMaterialIncomplete
	for i, l := range c.Sources.Local {
		if i == 0 {
			text += "\n\nUncaptured local sources:"
		}
		text += fmt.Sprintf("\n  - %s\n    reason: local_source", cmp.Or(l.Name, "<unnamed>"))
		details = append(details, &errdefs.ProvenanceMaterialIncomplete{Name: l.Name, Reason: "local_source"})
	}
	for i, u := range c.Untold {
		if i == 0 {
			text += "\n\nUncaptured requests:"
		}
		text += fmt.Sprintf("\n  - %s\n    method: %s\n    url: %s\n    reason: %s", u.Name, u.Method, u.URI, u.Reason)
		details = append(details, &errdefs.ProvenanceMaterialIncomplete{Op: u.Op, Name: u.Name, Method: u.Method, Uri: u.URI, Reason: u.Reason})
	}
	return errdefs.WithProvenanceMaterialsIncomplete(errors.New(text), details)
}

// predicate tells what a capture has.
func predicate(c *Capture) (*types.ProvenancePredicateSLSA1, error) {
	used := types.ProvenancePredicateSLSA02{}
	var err error
	if used.Materials, err = materials(c.Sources); err != nil {
		return nil, err
	}
	p := used.ConvertToSLSA1()
	def := &p.BuildDefinition
	def.InternalParameters.BuilderPlatform = platforms.Format(platforms.Normalize(platforms.DefaultSpec()))

	asked := Request(c.Request.Frontend, c.Request.Args, c.Sources)
	def.ExternalParameters.ConfigSource = asked.ConfigSource
	req := c.Request.Clone()
	req.Args = maps.Clone(asked.Request.Args)
	vcs := map[string]string{}
	for k, v := range req.Args {
		if name, ok := strings.CutPrefix(k, "vcs:"); ok {
			delete(req.Args, k)
			if name == "source" {
				v = urlutil.RedactCredentials(v)
			}
			if v != "" {
				vcs[name] = v
			}
		}
	}
	for _, l := range c.Sources.Local {
		req.Locals = append(req.Locals, &types.LocalSource{Name: l.Name})
	}
	def.ExternalParameters.Request = *req

	complete := c.complete()
	p.RunDetails.Metadata = &types.ProvenanceMetadataSLSA1{
		Completeness: types.BuildKitComplete{Request: c.Request.Frontend != "", ResolvedDependencies: complete},
		Hermetic:     complete && !c.Network,
	}
	if c.Proxied {
		n := &types.NetworkMetadata{Mode: "proxy"}
		if len(c.Untold) > 0 {
			n.Proxy = &types.ProxyNetworkMetadata{Incomplete: slices.Clone(c.Untold)}
		}
		p.RunDetails.Metadata.BuildKitMetadata.Network = n
	}
	if len(vcs) > 0 {
		p.RunDetails.Metadata.BuildKitMetadata.VCS = vcs
	}
	return p, nil
}

// complete says whether all that a result was made of can be told: what a directory of the
// caller had cannot.
func (c *Capture) complete() bool { return !c.Incomplete && len(c.Sources.Local) == 0 }

// materials are sources as provenance names them.
func materials(srcs types.Sources) (out []slsa.ProvenanceMaterial, err error) {
	for _, s := range srcs.Images {
		uri, err := purl.RefToPURL(purlType(s.Local), s.Ref, s.Platform)
		if err != nil {
			return nil, err
		}
		out = append(out, slsa.ProvenanceMaterial{URI: uri, Digest: digestSet(s.Digest)})
	}
	for _, s := range srcs.ImageBlobs {
		uri, err := blobPURL(s, packageurl.Qualifier{Key: "ref_type", Value: "blob"})
		if err != nil {
			return nil, err
		}
		out = append(out, slsa.ProvenanceMaterial{URI: uri, Digest: digestSet(s.Digest)})
	}
	for _, s := range srcs.Git {
		out = append(out, slsa.ProvenanceMaterial{URI: s.URL, Digest: commitDigest(s.Commit)})
		bundle, ok, err := bundleMaterial(s)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, bundle)
		}
	}
	for _, s := range srcs.HTTP {
		out = append(out, slsa.ProvenanceMaterial{URI: s.URL, Digest: digestSet(s.Digest)})
	}
	return out, nil
}

func purlType(local bool) string {
	if local {
		return packageurl.TypeOCI
	}
	return packageurl.TypeDocker
}

// bundleMaterial is the bundle that a commit came from, if it did.
func bundleMaterial(s types.GitSource) (m slsa.ProvenanceMaterial, ok bool, err error) {
	if s.Bundle == nil {
		return m, false, nil
	}
	scheme, ref, _ := strings.Cut(s.Bundle.URL, "://")
	name, sum, _ := strings.Cut(ref, "@")
	b := types.ImageBlobSource{Ref: name, Digest: digest.Digest(sum), Local: strings.HasPrefix(scheme, "oci-layout")}
	uri, err := blobPURL(b, packageurl.Qualifier{Key: "ref_type", Value: "bundle"}, packageurl.Qualifier{Key: "vcs_url", Value: s.URL})
	return slsa.ProvenanceMaterial{URI: uri, Digest: digestSet(b.Digest)}, err == nil, err
}

// blobPURL names a blob by where it is, with more that is said of it.
func blobPURL(s types.ImageBlobSource, more ...packageurl.Qualifier) (string, error) {
	uri, err := purl.RefToPURL(purlType(s.Local), s.Ref, nil)
	if err != nil {
		return "", err
	}
	p, err := packageurl.FromString(uri)
	if err != nil {
		return "", err
	}
	p.Qualifiers = append(p.Qualifiers, more...)
	return p.ToString(), nil
}

func digestSet(d digest.Digest) slsa.DigestSet {
	if d == "" {
		return nil
	}
	return slsa.DigestSet{d.Algorithm().String(): d.Encoded()}
}

func commitDigest(commit string) slsa.DigestSet {
	if len(commit) == 64 {
		return slsa.DigestSet{"sha256": commit}
	}
	return slsa.DigestSet{"sha1": commit}
}
