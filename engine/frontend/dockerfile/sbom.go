package dockerfile

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/attestations/sbom"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/result"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// scan makes SBOMs of what a Dockerfile builds, and of those stages that ask for it. A nil
// scan makes none.
type scan struct {
	scanner sbom.Scanner

	mu   sync.Mutex // guards what
	what map[string]*dockerfile2llb.Result
}

// newScan is nil if no SBOM is asked for.
func newScan(ctx context.Context, c sourceresolver.MetaResolver, bc *dockerui.Client, mode string) (*scan, error) {
	if bc.SBOM == nil {
		return nil, nil
	}
	platform := bc.BuildPlatforms[0]
	scanner, err := sbom.CreateSBOMScanner(ctx, c, bc.SBOM.Generator, platform, sourceresolver.Opt{
		ImageOpt: &sourceresolver.ResolveImageOpt{ResolveMode: mode, Platform: &platform},
	}, bc.SBOM.Parameters)
	if err != nil {
		return nil, fmt.Errorf("sbom: %w", err)
	}
	return &scan{scanner: scanner, what: map[string]*dockerfile2llb.Result{}}, nil
}

// note keeps what a Dockerfile has become for a platform.
func (s *scan) note(platform *ocispec.Platform, res *dockerfile2llb.Result) {
	if s == nil {
		return
	}
	p := platforms.DefaultSpec()
	if platform != nil {
		p = *platform
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.what[platforms.FormatAll(platforms.Normalize(p))] = res
}

// run adds the SBOMs to a result. They are made when they are first read.
func (s *scan) run(ctx context.Context, c client.Client, rb *dockerui.ResultBuilder) error {
	if s == nil {
		return nil
	}
	return rb.EachPlatform(ctx, func(ctx context.Context, id string, _ ocispec.Platform) error {
		s.mu.Lock()
		what := s.what[id]
		s.mu.Unlock()
		if what == nil {
			return fmt.Errorf("sbom: there is no result for %s", id)
		}
		var opts []llb.ConstraintsOpt
		if what.IsIgnoreCache {
			opts = append(opts, llb.IgnoreCache)
		}
		att, err := s.scanner(ctx, id, what.SBOM.Core, what.SBOM.Extras, opts...)
		if err != nil {
			return fmt.Errorf("sbom: %w", err)
		}
		solved, err := result.ConvertAttestation(&att, func(st *llb.State) (client.Reference, error) {
			def, err := st.Marshal(ctx)
			if err != nil {
				return nil, err
			}
			res, err := c.Solve(ctx, client.SolveRequest{Definition: def.ToPB()})
			if err != nil {
				return nil, err
			}
			return res.SingleRef()
		})
		if err != nil {
			return fmt.Errorf("sbom: %w", err)
		}
		rb.AddAttestation(id, *solved)
		return nil
	})
}
