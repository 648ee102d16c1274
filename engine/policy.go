package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/sourcepolicy"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/sourcepolicy/policysession"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tenonbuild/tenon/engine/gateway"
	"github.com/tenonbuild/tenon/engine/llb"
)

// maxVerdicts is how often the caller's policy is asked about one source: it may ask back
// for what is known of it, and put another one in its place.
const maxVerdicts = 10

// checkPolicy refuses a policy that is not whole.
func checkPolicy(p *spb.Policy) error {
	for _, r := range p.GetRules() {
		switch {
		case r == nil:
			return errors.New("invalid nil rule in policy")
		case r.Selector == nil:
			return errors.New("invalid nil selector in policy")
		case slices.Contains(r.Selector.Constraints, nil):
			return errors.New("invalid nil constraint in policy")
		}
	}
	return nil
}

// policy returns what decides about the sources of the build: the request's policy, those
// of a frontend, and the caller. It is nil if nothing does.
func (b *build) policy(ctx context.Context, more []*spb.Policy) (func(op *pb.Op) error, error) {
	var all []*spb.Policy
	for _, p := range append([]*spb.Policy{b.req.SourcePolicy}, more...) {
		if err := checkPolicy(p); err != nil {
			return nil, err
		}
		if len(p.GetRules()) > 0 {
			all = append(all, p)
		}
	}
	if len(all) == 0 && b.req.PolicyVerifier == nil {
		return nil, nil
	}
	rules := sourcepolicy.NewEngine(all)
	one := func(op *pb.Op) error {
		for n := maxVerdicts; ; n-- {
			src := op.GetSource()
			normaliseSource(src)
			if _, err := rules.Evaluate(ctx, src); err != nil {
				return err
			}
			if b.req.PolicyVerifier == nil {
				return nil
			}
			again, err := b.verdict(ctx, op, n)
			if err != nil || !again {
				return err
			}
		}
	}
	return func(op *pb.Op) error {
		if err := one(op); err != nil {
			return err
		}
		return onBundle(op, one)
	}, nil
}

// onBundle has a bundle that a git repository is read from decided about as the blob that
// it is, too.
func onBundle(op *pb.Op, decide func(*pb.Op) error) error {
	src := op.GetSource()
	bundle := src.GetAttrs()[pb.AttrGitBundle]
	if bundle == "" {
		return nil
	}
	scheme, name, _ := strings.Cut(bundle, "://")
	locator, _, _ := strings.Cut(name, "@")
	blob := &pb.SourceOp{Identifier: bundle, Attrs: map[string]string{}}
	if scheme == "oci-layout+blob" {
		blob.Attrs[pb.AttrOCILayoutStoreID] = cmp.Or(src.Attrs[pb.AttrOCILayoutStoreID], locator)
		if id, ok := src.Attrs[pb.AttrOCILayoutSessionID]; ok {
			blob.Attrs[pb.AttrOCILayoutSessionID] = id
		}
	}
	if err := decide(&pb.Op{Op: &pb.Op_Source{Source: blob}, Platform: op.Platform}); err != nil {
		return fmt.Errorf("error evaluating git bundle source policy: %w", err)
	}
	src.Attrs[pb.AttrGitBundle] = blob.Identifier
	return nil
}

// normaliseSource writes the name of an image, and a directory of a git repository, as rules
// name it.
func normaliseSource(src *pb.SourceOp) {
	const image = "docker-image://"
	if name, ok := strings.CutPrefix(src.GetIdentifier(), image); ok {
		if ref, err := reference.ParseNormalizedNamed(name); err == nil {
			src.Identifier = image + reference.TagNameOnly(ref).String()
		}
	}
	if strings.HasPrefix(src.GetIdentifier(), "git://") {
		if repo, dir, ok := cutDirectory(src.Identifier); ok {
			src.Identifier = repo + strings.TrimPrefix(path.Join("/", dir), "/")
		}
	}
}

// cutDirectory splits git://REPOSITORY#REF:DIRECTORY before the directory.
func cutDirectory(identifier string) (repo, dir string, ok bool) {
	repo, fragment, ok := strings.Cut(identifier, "#")
	ref, dir, ok2 := strings.Cut(fragment, ":")
	return repo + "#" + ref + ":", dir, ok && ok2 && dir != ""
}

// verdict has the caller decide about a source, at most so many times. Again says that it
// has put another one in its place.
func (b *build) verdict(ctx context.Context, op *pb.Op, times int) (again bool, err error) {
	src := op.GetSource()
	req := &policysession.CheckPolicyRequest{Platform: op.Platform, Source: &gwpb.ResolveSourceMetaResponse{Source: src}}
	for ; times > 0; times-- {
		resp, err := b.req.PolicyVerifier.CheckPolicy(ctx, req)
		if err != nil {
			return false, err
		}
		if ask := resp.GetRequest(); ask != nil {
			if req.Source, err = b.tell(ctx, src, ask); err != nil {
				return false, err
			}
			continue
		}
		d := resp.GetDecision()
		switch {
		case d == nil:
			return false, errors.New("no decision in policy response")
		case d.Action == spb.PolicyAction_ALLOW:
			return false, nil
		case d.Action == spb.PolicyAction_CONVERT && d.Update == nil:
			return false, errors.New("convert action requires updated source")
		case d.Action == spb.PolicyAction_CONVERT:
			src.Identifier, src.Attrs = d.Update.Identifier, d.Update.Attrs
			return true, nil
		}
		err = fmt.Errorf("source %q not allowed by policy: action %s", src.Identifier, d.Action)
		return false, policysession.WrapDenyMessages(err, d.GetDenyMessages())
	}
	return false, errors.New("too many policy requests")
}

// tell tells the caller's policy what it asks about a source: of no other one.
func (b *build) tell(ctx context.Context, src *pb.SourceOp, ask *gwpb.ResolveSourceMetaRequest) (*gwpb.ResolveSourceMetaResponse, error) {
	if id := ask.GetSource().GetIdentifier(); id != src.Identifier {
		return nil, fmt.Errorf("policy requested different source identifier: %q != %q", id, src.Identifier)
	}
	if !maps.Equal(src.Attrs, ask.Source.Attrs) {
		return nil, fmt.Errorf("policy requested different source attrs: %v != %v", ask.Source.Attrs, src.Attrs)
	}
	opt, err := gateway.ResolveOpt(ask)
	if err != nil {
		return nil, err
	}
	m, err := b.metadataOf(ctx, src, opt)
	if err != nil {
		return nil, fmt.Errorf("error resolving source metadata from policy request: %w", err)
	}
	return gateway.Metadata(m), nil
}

// decide has the policies decide about a source that is only asked about.
func (b *build) decide(ctx context.Context, op *pb.SourceOp, opt sourceresolver.Opt) error {
	decide, err := b.policy(ctx, opt.SourcePolicies)
	if err != nil || decide == nil {
		return err
	}
	var platform *ocispec.Platform
	switch {
	case opt.ImageOpt != nil:
		platform = opt.ImageOpt.Platform
	case opt.OCILayoutOpt != nil:
		platform = opt.OCILayoutOpt.Platform
	}
	asked := &pb.Op{Op: &pb.Op_Source{Source: op}}
	if platform != nil {
		asked.Platform = pb.PlatformFromSpec(*platform)
	}
	if err := decide(asked); err != nil {
		return fmt.Errorf("could not resolve image due to policy: %w", err)
	}
	return nil
}

// withPolicy adds the policies to how definitions are loaded.
func (b *build) withPolicy(ctx context.Context, opt llb.LoadOptions, more []*spb.Policy) (_ llb.LoadOptions, err error) {
	if opt.Policy, err = b.policy(ctx, more); err != nil || opt.Policy == nil {
		return opt, err
	}
	opt.PolicyID, err = b.policyID(more)
	return opt, err
}

// policyID names what policy makes: by what it says, and, where the caller decides, by the
// build.
func (b *build) policyID(more []*spb.Policy) (string, error) {
	all := sha256.New()
	for _, p := range append([]*spb.Policy{b.req.SourcePolicy}, more...) {
		dt, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(all, "%d %s", len(dt), dt)
	}
	if b.req.PolicyVerifier != nil {
		fmt.Fprintf(all, "by %s", b.req.ID)
	}
	return hex.EncodeToString(all.Sum(nil)), nil
}
