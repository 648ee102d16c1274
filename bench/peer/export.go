package peer

import (
	"context"

	"github.com/moby/buildkit/solver"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/bench"
)

// target keeps what is exported in a map.
type target struct {
	records map[*record]struct{}
}

type record struct {
	solver.CacheExporterRecordBase
	dgst    digest.Digest
	links   [][]solver.CacheLink
	results []solver.CacheExportResult
}

// Add implements solver.CacheExporterTarget.
func (t *target) Add(dgst digest.Digest, deps [][]solver.CacheLink, results []solver.CacheExportResult) (solver.CacheExporterRecord, bool, error) {
	r := &record{dgst: dgst, links: deps, results: results}
	t.records[r] = struct{}{}
	return r, true, nil
}

var remotes = []*solver.Remote{{Descriptors: []ocispecs.Descriptor{{Size: 1}}}}

func toRemotes(context.Context, solver.Result) ([]*solver.Remote, error) { return remotes, nil }

// Export implements bench.Job.
func (j *job) Export(ctx context.Context, mode bench.ExportMode) (int, error) {
	opt := solver.CacheExportOpt{ResolveRemotes: toRemotes, Mode: solver.CacheExportModeMin}
	if mode == bench.ExportMax {
		opt.Mode = solver.CacheExportModeMax
	}
	t := &target{records: map[*record]struct{}{}}
	for _, k := range j.result.CacheKeys() {
		if _, err := k.Exporter.ExportTo(ctx, t, opt); err != nil {
			return 0, err
		}
	}
	return len(t.records), nil
}
