package provenance_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/internal/check"
)

// predicate is the provenance of a capture by attributes.
func predicate(t *testing.T, attrs map[string]string, c *provenance.Capture, b provenance.Build) types.ProvenancePredicateSLSA1 {
	t.Helper()
	opt, err := provenance.Parse(attrs)
	check.OK(t, err)
	dt, err := opt.Predicate(c, b)
	check.OK(t, err)
	if opt.Version == types.ProvenanceSLSA02 {
		var p types.ProvenancePredicateSLSA02
		check.OK(t, json.Unmarshal(dt, &p))
		return *p.ConvertToSLSA1()
	}
	var p types.ProvenancePredicateSLSA1
	check.OK(t, json.Unmarshal(dt, &p))
	return p
}

func definition(t *testing.T, st llb.State) *pb.Definition {
	t.Helper()
	def, err := st.Marshal(t.Context(), llb.LinuxAmd64)
	check.OK(t, err)
	return def.ToPB()
}

func layers(n int) (out []ocispec.Descriptor) {
	for i := range n {
		out = append(out, ocispec.Descriptor{Digest: digest.FromString(string(rune('a' + i)))})
	}
	return out
}

// In both versions and modes it says what was asked for, and what was used. Mode min keeps
// to itself what may be private: arguments, labels, the names of secrets, steps and files.
func TestPredicate(t *testing.T) {
	c := &provenance.Capture{Network: true}
	c.Request.Frontend = "dockerfile.v0"
	c.Request.Args = provenance.Args(map[string]string{
		"context": "https://user:secret@example.com/r.git#main", "filename": "D", "build-arg:A": "private", "label:l": "v", "target": "t",
		"attest:provenance": "", "platform": "linux/amd64", "vcs:source": "https://user:secret@example.com/r", "vcs:revision": "r",
	})
	c.AddGit(types.GitSource{URL: "https://user:secret@example.com/r.git#main", Commit: "0123456789012345678901234567890123456789"})
	c.AddHTTP(types.HTTPSource{URL: "https://example.com/f", Digest: digest.FromString("f")})
	c.AddImage(types.ImageSource{Ref: "docker.io/library/b:1@" + digest.FromString("b").String(), Digest: digest.FromString("b")})
	c.AddImage(types.ImageSource{Ref: "docker.io/library/b:1", Digest: digest.FromString("b")})
	c.AddOp(&pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{Secretenv: []*pb.SecretEnv{{ID: "s"}}, Mounts: []*pb.Mount{{MountType: pb.MountType_SSH, SSHOpt: &pb.SSHOpt{}}}}}})
	c.Settle()
	def := definition(t, llb.Image("b").Run(llb.Shlex("true")).Root())
	build := provenance.Build{ID: "id", Started: time.Unix(1, 0), Finished: time.Unix(2, 0), Env: map[string]any{"place": "here"}, Definition: def}
	for _, version := range []string{"v1", "v0.2"} {
		for _, mode := range []string{"min", "max"} {
			p := predicate(t, map[string]string{"version": version, "mode": mode, "builder-id": "me", "reproducible": "true"}, c, build)
			d, r := p.BuildDefinition, p.RunDetails
			req := d.ExternalParameters.Request
			var deps []string
			for _, dep := range d.ResolvedDependencies {
				deps = append(deps, dep.URI)
			}
			if want := []string{"pkg:docker/b@1", "https://xxxxx:xxxxx@example.com/r.git#main", "https://example.com/f"}; !slices.Equal(deps, want) {
				t.Errorf("dependencies %v, want %v", deps, want)
			}
			check.Equal(t, "configuration", d.ExternalParameters.ConfigSource.URI, "https://xxxxx:xxxxx@example.com/r.git#main")
			check.Equal(t, "commit", d.ExternalParameters.ConfigSource.Digest["sha1"], "0123456789012345678901234567890123456789")
			check.Equal(t, "Dockerfile", d.ExternalParameters.ConfigSource.Path, "D")
			check.Equal(t, "target", req.Args["target"], "t")
			check.Equal(t, "builder", r.Builder.ID+r.Metadata.InvocationID, "meid")
			check.Equal(t, "times", r.Metadata.FinishedOn.Sub(*r.Metadata.StartedOn), time.Second)
			check.Equal(t, "vcs", r.Metadata.BuildKitMetadata.VCS["source"], "https://xxxxx:xxxxx@example.com/r")
			check.Equal(t, "place", d.InternalParameters.ProvenanceCustomEnv["place"], any("here"))
			check.Equal(t, "complete", r.Metadata.Completeness.ResolvedDependencies, true)
			check.Equal(t, "hermetic", r.Metadata.Hermetic, false)
			full := mode == "max"
			check.Equal(t, "argument", req.Args["build-arg:A"] != "", full)
			check.Equal(t, "secrets", len(req.Secrets)+len(req.SSH), map[bool]int{true: 2}[full])
			check.Equal(t, "steps", d.InternalParameters.BuildConfig != nil, full)
			check.Equal(t, "whole request", r.Metadata.Completeness.Request, full)
		}
	}
}

// Layers are told of steps only where it is certain which are whose.
func TestLayers(t *testing.T) {
	two := llb.Image("b").Run(llb.Shlex("true")).Root().File(llb.Mkfile("/f", 0o644, nil).Mkfile("/g", 0o644, nil))
	for name, c := range map[string]struct {
		st     llb.State
		layers int
		base   int
		want   map[string]int
	}{
		"each":           {two, 3, 1, map[string]int{"step0:0": 1, "step1:0": 2, "step2:0": 3}},
		"too few":        {two, 2, 1, map[string]int{"step0:0": 1, "step2:0": 2}},
		"base not known": {two, 3, -1, map[string]int{"step2:0": 3}},
		"none":           {two, 0, 1, nil},
		"from scratch":   {llb.Scratch().File(llb.Mkfile("/f", 0o644, nil)), 1, -1, map[string]int{"step0:0": 1}},
		"merged":         {llb.Merge([]llb.State{llb.Image("a"), llb.Image("b")}), 2, -1, map[string]int{"step2:0": 2}},
	} {
		p := predicate(t, nil, &provenance.Capture{}, provenance.Build{Definition: definition(t, c.st), Layers: layers(c.layers), Base: c.base})
		got := p.RunDetails.Metadata.BuildKitMetadata.Layers
		check.Equal(t, name, len(got), len(c.want))
		for step, n := range c.want {
			check.Equal(t, name+" "+step, len(got[step]) == 1 && len(got[step][0]) == n, true)
		}
	}
}

// What cannot be is refused, and so is provenance that is less than was wanted.
func TestOptions(t *testing.T) {
	for key, value := range map[string]string{"mode": "some", "version": "v3", "reproducible": "perhaps", "inline-only": "x", "complete-materials": "x"} {
		_, err := provenance.Parse(map[string]string{key: value})
		check.Says(t, err, key+"=")
	}
	opt, err := provenance.Parse(map[string]string{"complete-materials": "true", "unknown": "x"})
	check.OK(t, err)
	c := &provenance.Capture{}
	check.OK(t, opt.Check(c))
	c.AddLocal("context")
	err = opt.Check(c)
	check.Says(t, err, "incomplete", "context")
	var details *errdefs.ProvenanceMaterialsIncompleteError
	check.Equal(t, "details", errors.As(err, &details), true)
}
