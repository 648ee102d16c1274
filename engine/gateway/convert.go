package gateway

import (
	apitypes "github.com/moby/buildkit/api/types"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// toPB names the references of a result. Old frontends take names alone.
func (b *Bridge) toPB(res *gwclient.Result, withDefinitions bool) (*gwpb.Result, error) {
	out := &gwpb.Result{Metadata: res.Metadata}
	switch {
	case res.Refs != nil && withDefinitions:
		refs := map[string]*gwpb.Ref{}
		for k, ref := range res.Refs {
			refs[k] = b.keep(ref)
		}
		out.Result = &gwpb.Result_Refs{Refs: &gwpb.RefMap{Refs: refs}}
	case res.Refs != nil:
		refs := map[string]string{}
		for k, ref := range res.Refs {
			refs[k] = b.keep(ref).Id
		}
		out.Result = &gwpb.Result_RefsDeprecated{RefsDeprecated: &gwpb.RefMapDeprecated{Refs: refs}}
	case withDefinitions:
		out.Result = &gwpb.Result_Ref{Ref: b.keep(res.Ref)}
	default:
		out.Result = &gwpb.Result_RefDeprecated{RefDeprecated: b.keep(res.Ref).Id}
	}
	for k, list := range res.Attestations {
		var of gwpb.Attestations
		for _, a := range list {
			att, err := gwclient.AttestationToPB(&a)
			if err != nil {
				return nil, err
			}
			if a.Ref != nil {
				att.Ref = b.keep(a.Ref)
			}
			of.Attestation = append(of.Attestation, att)
		}
		if out.Attestations == nil {
			out.Attestations = map[string]*gwpb.Attestations{}
		}
		out.Attestations[k] = &of
	}
	return out, nil
}

// fromPB is a result with the references that it names.
func (b *Bridge) fromPB(in *gwpb.Result) (*gwclient.Result, error) {
	res := gwclient.NewResult()
	res.Metadata = in.Metadata
	one, each := names(in)
	ref, err := b.ref(one)
	if err != nil {
		return nil, err
	}
	if ref != nil {
		res.SetRef(ref)
	}
	for k, id := range each {
		ref, err := b.ref(id)
		if err != nil {
			return nil, err
		}
		res.AddRef(k, ref)
	}
	for k, list := range in.Attestations {
		for _, att := range list.GetAttestation() {
			a, err := gwclient.AttestationFromPB[gwclient.Reference](att)
			if err != nil {
				return nil, status.Errorf(codes.InvalidArgument, "attestation of %s: %v", k, err)
			}
			if a.Ref, err = b.ref(att.GetRef().GetId()); err != nil {
				return nil, err
			}
			res.AddAttestation(k, *a)
		}
	}
	return res, nil
}

// names are those of the references in a result: of the only one, or of each.
func names(in *gwpb.Result) (one string, each map[string]string) {
	switch r := in.Result.(type) {
	case *gwpb.Result_RefDeprecated:
		return r.RefDeprecated, nil
	case *gwpb.Result_RefsDeprecated:
		return "", r.RefsDeprecated.GetRefs()
	case *gwpb.Result_Ref:
		return r.Ref.GetId(), nil
	case *gwpb.Result_Refs:
		each = map[string]string{}
		for k, ref := range r.Refs.GetRefs() {
			each[k] = ref.GetId()
		}
	}
	return "", each
}

func workers(list []gwclient.WorkerInfo) (out []*apitypes.WorkerRecord) {
	for _, w := range list {
		out = append(out, &apitypes.WorkerRecord{ID: w.ID, Labels: w.Labels, Platforms: pb.PlatformsFromSpec(w.Platforms)})
	}
	return out
}

// parseDigest takes "" for none.
func parseDigest(s string) (digest.Digest, error) {
	if s == "" {
		return "", nil
	}
	d, err := digest.Parse(s)
	if err != nil {
		return "", status.Errorf(codes.InvalidArgument, "digest %q: %v", s, err)
	}
	return d, nil
}
