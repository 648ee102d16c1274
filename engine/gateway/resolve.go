package gateway

import (
	"context"
	"slices"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ResolveImageConfig returns an image's config.
func (b *Bridge) ResolveImageConfig(ctx context.Context, req *gwpb.ResolveImageConfigRequest) (*gwpb.ResolveImageConfigResponse, error) {
	opt := sourceresolver.Opt{LogName: req.LogName, SourcePolicies: req.SourcePolicies}
	switch t := sourceresolver.ResolverType(req.ResolverType); t {
	case sourceresolver.ResolverTypeRegistry:
		opt.ImageOpt = &sourceresolver.ResolveImageOpt{ResolveMode: req.ResolveMode, Platform: platform(req.Platform)}
	case sourceresolver.ResolverTypeOCILayout:
		opt.OCILayoutOpt = &sourceresolver.ResolveOCILayoutOpt{
			Platform: platform(req.Platform),
			Store:    sourceresolver.ResolveImageConfigOptStore{SessionID: req.SessionID, StoreID: req.StoreID},
		}
	default:
		return nil, status.Errorf(codes.InvalidArgument, "resolver type %d is not known", t)
	}
	ref, dgst, config, err := b.client.ResolveImageConfig(ctx, req.Ref, opt)
	if err != nil {
		return nil, b.wire(err)
	}
	return &gwpb.ResolveImageConfigResponse{Ref: ref, Digest: dgst.String(), Config: config}, nil
}

// ResolveSourceMeta tells about a source without fetching it.
func (b *Bridge) ResolveSourceMeta(ctx context.Context, req *gwpb.ResolveSourceMetaRequest) (*gwpb.ResolveSourceMetaResponse, error) {
	if req.Source == nil {
		return nil, status.Error(codes.InvalidArgument, "source is required")
	}
	opt, err := ResolveOpt(req)
	if err != nil {
		return nil, err
	}
	m, err := b.client.ResolveSourceMetadata(ctx, req.Source, opt)
	if err != nil {
		return nil, b.wire(err)
	}
	return Metadata(m), nil
}

// ResolveOpt is what a request asks of a source.
func ResolveOpt(req *gwpb.ResolveSourceMetaRequest) (sourceresolver.Opt, error) {
	p := platform(req.Platform)
	opt := sourceresolver.Opt{
		LogName: req.LogName, SourcePolicies: req.SourcePolicies,
		ImageOpt:     &sourceresolver.ResolveImageOpt{ResolveMode: req.ResolveMode, Platform: p},
		OCILayoutOpt: &sourceresolver.ResolveOCILayoutOpt{Platform: p},
	}
	if i := req.Image; i != nil {
		opt.ImageOpt.NoConfig, opt.ImageOpt.AttestationChain = i.NoConfig, i.AttestationChain
		opt.ImageOpt.ResolveAttestations = slices.Clone(i.ResolveAttestations)
	}
	if g := req.Git; g != nil {
		opt.GitOpt = &sourceresolver.ResolveGitOpt{ReturnObject: g.ReturnObject}
	}
	if c := req.GetHTTP().GetChecksumRequest(); c != nil {
		opt.HTTPOpt = &sourceresolver.ResolveHTTPOpt{ChecksumReq: &sourceresolver.ResolveHTTPChecksumRequest{
			Algo: algorithm(c.Algo), Suffix: slices.Clone(c.Suffix),
		}}
	}
	return opt, nil
}

// Metadata is what is known of a source.
func Metadata(m *sourceresolver.MetaResponse) *gwpb.ResolveSourceMetaResponse {
	out := &gwpb.ResolveSourceMetaResponse{Source: m.Op}
	if i := m.Image; i != nil {
		out.Image = &gwpb.ResolveSourceImageResponse{Digest: i.Digest.String(), Config: i.Config, AttestationChain: attestations(i.AttestationChain)}
	}
	if g := m.Git; g != nil {
		out.Git = &gwpb.ResolveSourceGitResponse{
			Checksum: g.Checksum, Ref: g.Ref,
			CommitChecksum: g.CommitChecksum, CommitObject: g.CommitObject, TagObject: g.TagObject,
		}
	}
	if h := m.HTTP; h != nil {
		out.HTTP = &gwpb.ResolveSourceHTTPResponse{Checksum: h.Digest.String(), Filename: h.Filename}
		if h.LastModified != nil {
			out.HTTP.LastModified = timestamppb.New(*h.LastModified)
		}
		if c := h.ChecksumResponse; c != nil {
			out.HTTP.ChecksumResponse = &gwpb.ChecksumResponse{Digest: c.Digest, Suffix: slices.Clone(c.Suffix)}
		}
	}
	return out
}

func attestations(c *sourceresolver.AttestationChain) *gwpb.AttestationChain {
	if c == nil {
		return nil
	}
	out := &gwpb.AttestationChain{
		Root: c.Root.String(), ImageManifest: c.ImageManifest.String(), AttestationManifest: c.AttestationManifest.String(),
		Blobs: map[string]*gwpb.Blob{},
	}
	for _, d := range c.SignatureManifests {
		out.SignatureManifests = append(out.SignatureManifests, d.String())
	}
	for d, b := range c.Blobs {
		desc := &gwpb.Descriptor{
			MediaType: b.Descriptor.MediaType, Digest: b.Descriptor.Digest.String(), Size: b.Descriptor.Size, Annotations: b.Descriptor.Annotations,
		}
		out.Blobs[d.String()] = &gwpb.Blob{Descriptor_: desc, Data: b.Data}
	}
	return out
}

func platform(p *pb.Platform) *ocispec.Platform {
	if p == nil {
		return nil
	}
	s := p.Spec()
	return &s
}

func algorithm(a gwpb.ChecksumRequest_ChecksumAlgo) sourceresolver.ResolveHTTPChecksumAlgo {
	switch a {
	case gwpb.ChecksumRequest_CHECKSUM_ALGO_SHA384:
		return sourceresolver.ResolveHTTPChecksumAlgoSHA384
	case gwpb.ChecksumRequest_CHECKSUM_ALGO_SHA512:
		return sourceresolver.ResolveHTTPChecksumAlgoSHA512
	case gwpb.ChecksumRequest_CHECKSUM_ALGO_SHA256:
		return sourceresolver.ResolveHTTPChecksumAlgoSHA256
	}
	return sourceresolver.ResolveHTTPChecksumAlgo(a)
}
