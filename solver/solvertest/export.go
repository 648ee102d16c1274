package solvertest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// ExportTarget is a solver.CacheExporterTarget that keeps what it is given, and
// that a cache can be made of again: see Manager. The zero value is ready for use.
type ExportTarget struct {
	mu      sync.Mutex
	records []*ExportedRecord
	visited map[interface{}]bool
}

// ExportedRecord is one record of an export.
type ExportedRecord struct {
	// Digest stands for an operation and its output.
	Digest digest.Digest
	// Links are the alternatives for the inputs.
	Links []ExportedLink
	// Results are what the record holds.
	Results []ExportedResult

	target *ExportTarget
	id     string
}

// ExportedLink says that a record's input Index can be From, seen through Selector.
type ExportedLink struct {
	From     *ExportedRecord
	Index    int
	Selector string
}

// ExportedResult is a result of a record.
type ExportedResult struct {
	CreatedAt time.Time
	Remote    *solver.Remote
}

// Add implements solver.CacheExporterTarget.
func (t *ExportTarget) Add(dgst digest.Digest) solver.CacheExporterRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &ExportedRecord{Digest: dgst, target: t, id: fmt.Sprint("record-", len(t.records))}
	t.records = append(t.records, r)
	return r
}

// Visit implements solver.CacheExporterTarget.
func (t *ExportTarget) Visit(x interface{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.visited == nil {
		t.visited = map[interface{}]bool{}
	}
	t.visited[x] = true
}

// Visited implements solver.CacheExporterTarget.
func (t *ExportTarget) Visited(x interface{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.visited[x]
}

// Records returns the records in the order in which they were added.
func (t *ExportTarget) Records() []*ExportedRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]*ExportedRecord(nil), t.records...)
}

// AddResult implements solver.CacheExporterRecord.
func (r *ExportedRecord) AddResult(createdAt time.Time, remote *solver.Remote) {
	r.target.mu.Lock()
	defer r.target.mu.Unlock()
	r.Results = append(r.Results, ExportedResult{CreatedAt: createdAt, Remote: remote})
}

// LinkFrom implements solver.CacheExporterRecord.
func (r *ExportedRecord) LinkFrom(src solver.CacheExporterRecord, index int, selector string) {
	r.target.mu.Lock()
	defer r.target.mu.Unlock()
	r.Links = append(r.Links, ExportedLink{From: src.(*ExportedRecord), Index: index, Selector: selector})
}

// Manager returns a cache of what was exported, as one would be that was imported
// from elsewhere. Load makes results of their transferable form, which become the
// solver's. What the solver saves in it is lost.
func (t *ExportTarget) Manager(id string, load func(*solver.Remote) solver.Result) solver.CacheManager {
	keys, results := NewStorageModel(), importedResults{map[string]*solver.Remote{}, load}
	for _, r := range t.Records() {
		for _, l := range r.Links {
			keys.AddLink(l.From.key(), importedLink(r.Digest, l.Index, l.Selector), r.key())
		}
		for i, res := range r.Results {
			name := fmt.Sprint(r.id, "/", i)
			keys.AddResult(r.key(), solver.CacheResult{ID: name, CreatedAt: res.CreatedAt})
			results.remotes[name] = res.Remote
		}
	}
	return solver.NewCacheManager(id, importedKeys{keys}, results)
}

// key is the record's name in a cache. A root is known by what it is, here as
// everywhere.
func (r *ExportedRecord) key() string {
	if len(r.Links) == 0 {
		return string(r.Digest)
	}
	return r.id
}

// importedLink is a link to a record. A record's digest stands for an operation and its output.
func importedLink(record digest.Digest, input int, selector string) solver.CacheInfoLink {
	return solver.CacheInfoLink{Digest: record, Input: solver.Index(input), Selector: digest.Digest(selector)}
}

// importedKeys is a read-only storage of the records of an export.
type importedKeys struct{ *StorageModel }

func (s importedKeys) WalkLinks(id string, l solver.CacheInfoLink, fn func(string) error) error {
	record := digest.Digest(solver.NewCacheKey(l.Digest, l.Output).ID)
	return s.StorageModel.WalkLinks(id, importedLink(record, int(l.Input), string(l.Selector)), fn)
}

func (s importedKeys) HasLink(id string, l solver.CacheInfoLink, target string) (found bool) {
	s.WalkLinks(id, l, func(to string) error {
		found = found || to == target
		return nil
	})
	return found
}

// WalkBacklinks visits nothing: an export does not tell an operation from its output.
func (importedKeys) WalkBacklinks(string, func(string, solver.CacheInfoLink) error) error { return nil }

func (importedKeys) AddResult(string, solver.CacheResult) error         { return nil }
func (importedKeys) AddLink(string, solver.CacheInfoLink, string) error { return nil }
func (importedKeys) Release(string) error                               { return nil }

// importedResults makes results of what was exported.
type importedResults struct {
	remotes map[string]*solver.Remote // by name
	load    func(*solver.Remote) solver.Result
}

func (importedResults) Save(solver.Result) (solver.CacheResult, error) {
	return solver.CacheResult{}, nil
}

func (s importedResults) Load(ctx context.Context, res solver.CacheResult) (solver.Result, error) {
	remote, err := s.LoadRemote(ctx, res)
	if err != nil {
		return nil, err
	}
	return s.load(remote), nil
}

func (s importedResults) LoadRemote(_ context.Context, res solver.CacheResult) (*solver.Remote, error) {
	if !s.Exists(res.ID) {
		return nil, solver.ErrNotFound
	}
	return s.remotes[res.ID], nil
}

func (s importedResults) Exists(id string) bool { return s.remotes[id] != nil }
