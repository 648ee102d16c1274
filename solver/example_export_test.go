package solver_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/solver"
)

// cacheFile is a CacheExporterTarget that collects what is exported, in the order
// in which it comes. A real one writes a manifest and uploads the results.
type cacheFile struct {
	records []*cacheFileRecord
	seen    map[interface{}]bool
}

type cacheFileRecord struct {
	number  int
	digest  digest.Digest
	results []*solver.Remote
	links   []string
}

func (f *cacheFile) Add(dgst digest.Digest) solver.CacheExporterRecord {
	r := &cacheFileRecord{number: len(f.records), digest: dgst}
	f.records = append(f.records, r)
	return r
}

func (f *cacheFile) Visit(x interface{})        { f.seen[x] = true }
func (f *cacheFile) Visited(x interface{}) bool { return f.seen[x] }

func (r *cacheFileRecord) AddResult(_ time.Time, result *solver.Remote) {
	r.results = append(r.results, result)
}

func (r *cacheFileRecord) LinkFrom(src solver.CacheExporterRecord, input int, selector string) {
	r.links = append(r.links, fmt.Sprintf("input %d is record %d", input, src.(*cacheFileRecord).number))
}

// Exporting the cache behind a result: each record is an operation's key, linked
// to the records of its inputs, and may hold a result in transferable form.
func ExampleCacheExporter() {
	ctx := context.Background()
	s := solver.NewSolver(solver.SolverOpt{ResolveOpFunc: resolve})
	defer s.Close()
	job, err := s.NewJob("exported")
	if err != nil {
		log.Fatal(err)
	}
	defer job.Discard()
	r, err := job.Build(ctx, solver.Edge{Vertex: join("link", join("compile", echo("src")))})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Release(ctx)

	file := &cacheFile{seen: map[interface{}]bool{}}
	opt := solver.CacheExportOpt{
		Mode: solver.CacheExportModeMax,
		// Convert makes a result transferable. A real one returns layers, with a
		// Provider to read them from.
		Convert: func(_ context.Context, r solver.Result) (*solver.Remote, error) {
			data := []byte(textOf(r))
			return &solver.Remote{Descriptors: []ocispec.Descriptor{
				{MediaType: "text/plain", Digest: digest.FromBytes(data), Size: int64(len(data)), Data: data},
			}}, nil
		},
	}
	for _, key := range r.CacheKeys() {
		if _, err := key.Exporter.ExportTo(ctx, file, opt); err != nil {
			log.Fatal(err)
		}
	}
	for _, rec := range file.records {
		fmt.Println("record", rec.number, rec.links)
		for _, remote := range rec.results {
			fmt.Printf("  holds %s\n", remote.Descriptors[0].Data)
		}
	}

	// Output:
	// run: src
	// run: compile
	// run: link
	// record 0 []
	// record 1 [input 0 is record 0]
	//   holds compile[src]
	// record 2 [input 0 is record 1]
	//   holds link[compile[src]]
}
