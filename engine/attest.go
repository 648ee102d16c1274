package engine

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	resourcestypes "github.com/moby/buildkit/executor/resources/types"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/frontend/attestations"
	"github.com/moby/buildkit/frontend/attestations/sbom"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/result"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/export"
	"github.com/tenonbuild/tenon/engine/frontend"
	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/engine/store"
)

// attester adds to what a frontend has returned what the request wants to be said of it.
type attester struct {
	// provenance and scanner are nil where there is to be none.
	provenance *provenance.Options
	scanner    *scanner
	started    time.Time
	// ended is when what was built was first told of.
	ended func() time.Time
	// usage is what the machine had to do until it is first asked: see observe.
	usage func() []*resourcestypes.SysSample
}

// scanner is what makes SBOMs: an image, and what it is told.
type scanner struct {
	image  string
	params map[string]string
}

// newAttester reads what the attributes attest:* ask for.
func newAttester(attrs map[string]string) (*attester, error) {
	a := &attester{started: time.Now(), ended: sync.OnceValue(time.Now)}
	asked, err := attestations.Parse(attrs)
	if err != nil {
		return nil, fmt.Errorf("attestations: %w", err)
	}
	if attrs, ok := asked[attestations.KeyTypeProvenance]; ok {
		opt, err := provenance.Parse(attrs)
		if err != nil {
			return nil, err
		}
		a.provenance = &opt
	}
	if attrs, ok := asked[attestations.KeyTypeSbom]; ok {
		name, err := reference.ParseNormalizedNamed(attrs["generator"])
		if err != nil {
			return nil, fmt.Errorf("sbom: generator=%q is not the name of an image: %w", attrs["generator"], err)
		}
		delete(attrs, "generator")
		a.scanner = &scanner{reference.TagNameOnly(name).String(), attrs}
	}
	return a, nil
}

// asked is what was asked for.
func (a *attester) asked() export.Attests {
	switch {
	case a.scanner != nil || a.provenance != nil && !a.provenance.InlineOnly:
		return export.AttestsAll
	case a.provenance != nil:
		return export.AttestsInline
	}
	return export.AttestsUnknown
}

// scan adds SBOMs to a result, unless the frontend has: it knows the stages.
func (a *attester) scan(ctx context.Context, b *build, c *frontend.Client, res *gwclient.Result) error {
	if a.scanner == nil || sbom.HasSBOM(res) {
		return nil
	}
	list, err := exptypes.ParsePlatforms(res.Metadata)
	if err != nil {
		return fmt.Errorf("what the frontend says of its platforms: %w", err)
	}
	for _, p := range list.Platforms {
		found, ok := res.FindRef(p.ID)
		if !ok {
			return fmt.Errorf("the frontend names the platform %s and has no result for it", p.ID)
		}
		ref, ok := found.(*frontend.Reference)
		if !ok { // the empty tree, or what is refused later
			continue
		}
		if err := a.scanOne(ctx, b, c, res, p.ID, ref); err != nil {
			return fmt.Errorf("sbom of %s: %w", p.ID, err)
		}
	}
	return nil
}

// scanOne has the scanner look at a platform's result. Its statements are read when they are
// written somewhere.
func (a *attester) scanOne(ctx context.Context, b *build, c *frontend.Client, res *gwclient.Result, id string, ref *frontend.Reference) error {
	platform := b.engine.worker.info().Platforms[0]
	scan, err := sbom.CreateSBOMScanner(ctx, c, a.scanner.image, platform, sourceresolver.Opt{
		ImageOpt: &sourceresolver.ResolveImageOpt{ResolveMode: b.req.FrontendAttrs["image-resolve-mode"], Platform: &platform},
	}, a.scanner.params)
	if err != nil {
		return err
	}
	op, err := llb.NewDefinitionOp(ref.Definition())
	if err != nil {
		return err
	}
	var opts []llb.ConstraintsOpt
	if v, ok := b.req.FrontendAttrs["no-cache"]; ok && v == "" {
		opts = append(opts, llb.IgnoreCache)
	}
	att, err := scan(ctx, id, llb.NewState(op), nil, opts...)
	if err != nil {
		return err
	}
	solved, err := result.ConvertAttestation(&att, func(st *llb.State) (gwclient.Reference, error) {
		def, err := st.Marshal(ctx)
		if err != nil {
			return nil, err
		}
		res, err := c.Solve(ctx, gwclient.SolveRequest{Definition: def.ToPB()})
		if err != nil {
			return nil, err
		}
		return res.SingleRef()
	})
	if err != nil {
		return err
	}
	res.AddAttestation(id, *solved)
	return nil
}

// tell adds provenance to what is exported, which has been built by now, and tells it to
// who wants to know (Request.Built).
func (a *attester) tell(ctx context.Context, b *build, res *gwclient.Result, src *export.Source) error {
	if a.provenance == nil && b.req.Built == nil {
		return nil
	}
	list, err := exptypes.ParsePlatforms(res.Metadata)
	if err != nil {
		return fmt.Errorf("what the frontend says of its platforms: %w", err)
	}
	for i := range src.Platforms {
		id := list.Platforms[i].ID
		found, _ := res.FindRef(id)
		ref, ok := found.(*frontend.Reference)
		if !ok {
			continue // the empty tree
		}
		used, err := b.captured(ctx, res, id, ref, list.Platforms)
		if b.req.Built != nil {
			b.req.Built(a.built(b, src, i, ref, used, err))
		}
		if a.provenance == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("provenance of %s: %w", id, err)
		}
		if err := a.provenance.Check(used); err != nil {
			return err
		}
		src.Platforms[i].Attestations = append(src.Platforms[i].Attestations, a.provenanceOf(b, src, i, ref, used))
	}
	return nil
}

func (a *attester) provenanceOf(b *build, src *export.Source, i int, ref *frontend.Reference, used *provenance.Capture) export.Attestation {
	opt := a.provenance
	return export.Attestation{
		Attestation: result.Attestation[*store.Ref]{
			Kind: gwpb.AttestationKind_InToto, Path: opt.Filename,
			InToto: result.InTotoAttestation{PredicateType: opt.PredicateType()},
			Metadata: map[string][]byte{
				result.AttestationReasonKey:     []byte(result.AttestationReasonProvenance),
				result.AttestationInlineOnlyKey: strconv.AppendBool(nil, opt.InlineOnly),
			},
		},
		Of: func(layers []ocispec.Descriptor) ([]byte, error) {
			return opt.Predicate(used, a.facts(b, src, i, ref, layers))
		},
	}
}

// facts are when and as what a platform's result was built.
func (a *attester) facts(b *build, src *export.Source, i int, ref *frontend.Reference, layers []ocispec.Descriptor) provenance.Build {
	return provenance.Build{
		ID: b.req.ID, Started: a.started, Finished: a.ended(), Env: b.engine.provenanceEnv,
		Definition: ref.Definition(), Layers: layers, Base: src.BaseLayers(src.Platforms[i]), Usage: a.usage(),
	}
}

// Built is how a result was built, or why that cannot be told.
type Built struct {
	// Platform is which result; "" where there is one.
	Platform string
	// PredicateType and Predicate are provenance with all that is known, whatever of it
	// the request wants to be exported.
	PredicateType string
	Predicate     []byte
	Err           error
}

// built says how a platform's result was built that used something, unless it failed.
func (a *attester) built(b *build, src *export.Source, i int, ref *frontend.Reference, used *provenance.Capture, failed error) Built {
	opt := provenance.Options{Version: types.ProvenanceSLSA1}
	if a.provenance != nil {
		opt.BuilderID = a.provenance.BuilderID
	}
	out := Built{PredicateType: opt.PredicateType(), Err: failed}
	if src.MultiPlatform {
		out.Platform = src.Platforms[i].ID
	}
	if failed == nil {
		out.Predicate, out.Err = opt.Predicate(used, a.facts(b, src, i, ref, nil))
	}
	return out
}
