// Package dockerfile is the Dockerfile frontend: it reads a Dockerfile and has what
// it says solved. The language itself is BuildKit's library.
package dockerfile

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/subrequests/convertllb"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/frontend/subrequests/outline"
	"github.com/moby/buildkit/frontend/subrequests/targets"
	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Name is what the frontend is asked for by.
const Name = "dockerfile.v0"

// Build is the frontend. Its attributes are those of BuildKit's dockerfile.v0; a
// subrequest (requestid) is answered in the result's metadata.
func Build(ctx context.Context, c client.Client) (_ *client.Result, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	guard := &guard{Client: c, stop: stop}
	bc, err := dockerui.NewClient(guard)
	if err != nil {
		return nil, err
	}
	opts := bc.BuildOpts().Opts
	if err := checkCaps(opts["frontend.caps"], true); err != nil {
		return nil, err
	}
	// A platform that is asked for twice is built once.
	bc.TargetPlatforms = eachOnce(bc.TargetPlatforms)
	src, err := unlessEnded(ctx, func() (*dockerui.Source, error) { return bc.ReadEntrypoint(ctx, "Dockerfile") })
	if err != nil {
		return nil, err
	}
	// Wherever in the Dockerfile an error is, it says so.
	defer func() { err = withLocations(err, src) }()
	if res, err := syntax(ctx, c, opts, src); res != nil || err != nil {
		return res, err
	}
	read, err := parse(src.Data, maps.Clone(bc.BuildArgs))
	if err != nil {
		return nil, err
	}
	if err := guard.watch(read, len(bc.TargetPlatforms)); err != nil {
		return nil, err
	}
	if err := read.checkTarget(bc.Target); err != nil {
		return nil, err
	}
	convert := dockerfile2llb.ConvertOpt{
		Config:       bc.Config,
		Client:       bc,
		SourceMap:    src.SourceMap,
		MetaResolver: guard,
		Warn:         warner(ctx, src),
	}
	if res, ok, err := answer(ctx, bc, subrequests(src.Data, convert)); ok || err != nil {
		return res, err
	}
	if err := checkIgnored(ctx, bc); err != nil {
		return nil, err
	}
	scan, err := newScan(ctx, guard, bc, opts["image-resolve-mode"])
	if err != nil {
		return nil, err
	}
	warned := make(chan struct{}) // closed when the first platform has been converted
	rb, err := bc.Build(ctx, func(ctx context.Context, platform *ocispec.Platform, i int) (*dockerui.BuildResult, error) {
		opt := convert
		opt.BuildArgs = maps.Clone(opt.BuildArgs) // the conversion adds to them
		opt.TargetPlatform = platform
		if i > 0 {
			opt.Warn = nil // each platform has the same warnings
		}
		converted, err := unlessEnded(ctx, func() (converted, error) { return convertPlatform(ctx, src.Data, opt) })
		wait(ctx, i, warned)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			if err := read.warnUnused(ctx, c, guard.triggers()); err != nil {
				return nil, err
			}
		}
		scan.note(platform, converted.Result)
		return solvePlatform(ctx, c, converted, opt)
	})
	if err != nil {
		return nil, err
	}
	if err := scan.run(ctx, c, rb); err != nil {
		return nil, err
	}
	return rb.Finalize()
}

// wait has the error of another platform come after the warnings of the first one, which
// are those of all.
func wait(ctx context.Context, platform int, warned chan struct{}) {
	if platform == 0 {
		close(warned)
		return
	}
	select {
	case <-warned:
	case <-ctx.Done():
	}
}

// answer answers a subrequest, if it is one.
func answer(ctx context.Context, bc *dockerui.Client, all dockerui.RequestHandler) (*client.Result, bool, error) {
	type answer struct {
		result *client.Result
		given  bool
	}
	said, err := unlessEnded(ctx, func() (answer, error) {
		res, ok, err := bc.HandleSubrequest(ctx, all)
		return answer{res, ok}, err
	})
	return said.result, said.given, err
}

// eachOnce are platforms, which are normalised, without those that come again.
func eachOnce(all []ocispec.Platform) (out []ocispec.Platform) {
	for _, p := range all {
		same := func(o ocispec.Platform) bool { return platforms.FormatAll(o) == platforms.FormatAll(p) }
		if !slices.ContainsFunc(out, same) {
			out = append(out, p)
		}
	}
	return out
}

// converted is what a Dockerfile has become.
type converted struct {
	*dockerfile2llb.Result
	def *llb.Definition
}

// convertPlatform makes LLB of a Dockerfile, for the platform in opt.
func convertPlatform(ctx context.Context, data []byte, opt dockerfile2llb.ConvertOpt) (converted, error) {
	res, err := dockerfile2llb.Dockerfile2LLB(ctx, data, opt)
	if err != nil {
		return converted{}, err
	}
	def, err := res.State.Marshal(ctx)
	if err != nil {
		return converted{}, fmt.Errorf("the LLB of the Dockerfile: %w", err)
	}
	return converted{res, def}, nil
}

// solvePlatform has a Dockerfile solved for one platform.
func solvePlatform(ctx context.Context, c client.Client, converted converted, opt dockerfile2llb.ConvertOpt) (*dockerui.BuildResult, error) {
	def := converted.def
	if err := spreadNoCache(def); err != nil {
		return nil, err
	}
	res, err := c.Solve(ctx, client.SolveRequest{Definition: def.ToPB(), CacheImports: opt.CacheImports})
	if err != nil {
		return nil, err
	}
	ref, err := res.SingleRef()
	if err != nil {
		return nil, err
	}
	return &dockerui.BuildResult{Reference: ref, Image: converted.Image, BaseImage: converted.BaseImage, Epoch: converted.Epoch}, nil
}

// subrequests are the questions about a Dockerfile that are answered without
// building it.
func subrequests(data []byte, opt dockerfile2llb.ConvertOpt) dockerui.RequestHandler {
	return dockerui.RequestHandler{
		Outline: func(ctx context.Context) (*outline.Outline, error) {
			return dockerfile2llb.Dockerfile2Outline(ctx, data, opt)
		},
		ListTargets: func(ctx context.Context) (*targets.List, error) {
			return dockerfile2llb.ListTargets(ctx, data)
		},
		Lint: func(ctx context.Context) (*lint.LintResults, error) {
			return dockerfile2llb.DockerfileLint(ctx, data, opt)
		},
		ConvertLLB: func(ctx context.Context) (*convertllb.Result, error) {
			return dockerfile2llb.DockerfileConvertLLB(ctx, data, opt)
		},
	}
}

// warner reports what the linter of the language finds, at the lines it is about.
func warner(ctx context.Context, src *dockerui.Source) linter.LintWarnFunc {
	return func(rule, description, url, msg string, location []parser.Range) {
		line := 0
		if len(location) > 0 {
			line = location[0].Start.Line
		}
		src.Warn(ctx, linter.LintFormatShort(rule, msg, line), client.WarnOpts{
			Level: 1, Detail: [][]byte{[]byte(description)}, URL: url, Range: ranges(location),
		})
	}
}

func ranges(location []parser.Range) []*pb.Range {
	out := make([]*pb.Range, 0, len(location))
	for _, r := range location {
		out = append(out, &pb.Range{
			Start: &pb.Position{Line: int32(r.Start.Line), Character: int32(r.Start.Character)},
			End:   &pb.Position{Line: int32(r.End.Line), Character: int32(r.End.Character)},
		})
	}
	return out
}
