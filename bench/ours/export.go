package ours

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/bench"
	"github.com/tenonbuild/tenon/solver"
)

// target keeps what is exported in a map.
type target struct {
	records map[*record]struct{}
	visited map[any]struct{}
}

type record struct {
	dgst    digest.Digest
	links   []link
	results []*solver.Remote
}

type link struct {
	src      *record
	index    int
	selector string
}

// Add implements solver.CacheExporterTarget.
func (t *target) Add(dgst digest.Digest) solver.CacheExporterRecord {
	r := &record{dgst: dgst}
	t.records[r] = struct{}{}
	return r
}

// Visit implements solver.CacheExporterTarget.
func (t *target) Visit(v any) { t.visited[v] = struct{}{} }

// Visited implements solver.CacheExporterTarget.
func (t *target) Visited(v any) bool {
	_, ok := t.visited[v]
	return ok
}

// AddResult implements solver.CacheExporterRecord.
func (r *record) AddResult(_ time.Time, result *solver.Remote) {
	r.results = append(r.results, result)
}

// LinkFrom implements solver.CacheExporterRecord.
func (r *record) LinkFrom(src solver.CacheExporterRecord, index int, selector string) {
	r.links = append(r.links, link{src.(*record), index, selector})
}

var remote = &solver.Remote{Descriptors: []ocispec.Descriptor{{Size: 1}}}

func toRemote(context.Context, solver.Result) (*solver.Remote, error) { return remote, nil }

// Export implements bench.Job.
func (j *job) Export(ctx context.Context, mode bench.ExportMode) (int, error) {
	opt := solver.CacheExportOpt{Convert: toRemote, Mode: solver.CacheExportModeMin}
	if mode == bench.ExportMax {
		opt.Mode = solver.CacheExportModeMax
	}
	t := &target{records: map[*record]struct{}{}, visited: map[any]struct{}{}}
	for _, k := range j.result.CacheKeys() {
		if _, err := k.Exporter.ExportTo(ctx, t, opt); err != nil {
			return 0, err
		}
	}
	return len(t.records), nil
}
