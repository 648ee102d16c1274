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
	s := &importedKeys{records: t.Records(), load: load}
	return solver.NewCacheManager(id, s, importedResults{s})
}

// key is the record's name in a cache. A root is known by what it is, here as
// everywhere.
func (r *ExportedRecord) key() string {
	if len(r.Links) == 0 {
		return string(r.Digest)
	}
	return r.id
}

// importedKeys is a read-only storage of the records of an export.
type importedKeys struct {
	records []*ExportedRecord
	load    func(*solver.Remote) solver.Result
}

func (s *importedKeys) Exists(id string) bool { return s.find(id) != nil }

func (s *importedKeys) find(id string) (found []*ExportedRecord) {
	for _, r := range s.records {
		if r.key() == id {
			found = append(found, r)
		}
	}
	return found
}

func (s *importedKeys) Walk(fn func(id string) error) error {
	seen := map[string]bool{}
	for _, r := range s.records {
		if seen[r.key()] {
			continue
		}
		seen[r.key()] = true
		if err := fn(r.key()); err != nil {
			return err
		}
	}
	return nil
}

func (s *importedKeys) resultsOf(id string) (out []solver.CacheResult) {
	for _, r := range s.find(id) {
		for i, res := range r.Results {
			out = append(out, solver.CacheResult{ID: fmt.Sprint(r.key(), "/", i), CreatedAt: res.CreatedAt})
		}
	}
	return out
}

func (s *importedKeys) WalkResults(id string, fn func(solver.CacheResult) error) error {
	for _, res := range s.resultsOf(id) {
		if err := fn(res); err != nil {
			return err
		}
	}
	return nil
}

func (s *importedKeys) Load(id, resultID string) (solver.CacheResult, error) {
	for _, res := range s.resultsOf(id) {
		if res.ID == resultID {
			return res, nil
		}
	}
	return solver.CacheResult{}, solver.ErrNotFound
}

func (s *importedKeys) WalkIDsByResult(resultID string, fn func(string) error) error {
	return s.Walk(func(id string) error {
		if _, err := s.Load(id, resultID); err != nil {
			return nil
		}
		return fn(id)
	})
}

// WalkLinks visits the records of the link's operation and output.
func (s *importedKeys) WalkLinks(id string, link solver.CacheInfoLink, fn func(string) error) error {
	dgst := digest.Digest(solver.NewCacheKey(link.Digest, link.Output).ID)
	for _, r := range s.records {
		if r.Digest != dgst {
			continue
		}
		for _, l := range r.Links {
			if l.From.key() == id && l.Index == int(link.Input) && l.Selector == string(link.Selector) {
				if err := fn(r.key()); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

func (s *importedKeys) HasLink(id string, link solver.CacheInfoLink, target string) (found bool) {
	s.WalkLinks(id, link, func(to string) error {
		found = found || to == target
		return nil
	})
	return found
}

// WalkBacklinks visits nothing: of the operations only what they are called in an
// export is known.
func (s *importedKeys) WalkBacklinks(string, func(string, solver.CacheInfoLink) error) error {
	return nil
}

func (s *importedKeys) AddResult(string, solver.CacheResult) error         { return nil }
func (s *importedKeys) AddLink(string, solver.CacheInfoLink, string) error { return nil }
func (s *importedKeys) Release(string) error                               { return nil }

// importedResults makes results of what was exported.
type importedResults struct{ keys *importedKeys }

func (s importedResults) remote(id string) *solver.Remote {
	for _, r := range s.keys.records {
		for i, res := range r.Results {
			if fmt.Sprint(r.key(), "/", i) == id {
				return res.Remote
			}
		}
	}
	return nil
}

func (s importedResults) Save(solver.Result) (solver.CacheResult, error) {
	return solver.CacheResult{}, nil
}

func (s importedResults) Load(_ context.Context, res solver.CacheResult) (solver.Result, error) {
	remote := s.remote(res.ID)
	if remote == nil {
		return nil, solver.ErrNotFound
	}
	return s.keys.load(remote), nil
}

func (s importedResults) LoadRemote(_ context.Context, res solver.CacheResult) (*solver.Remote, error) {
	remote := s.remote(res.ID)
	if remote == nil {
		return nil, solver.ErrNotFound
	}
	return remote, nil
}

func (s importedResults) Exists(id string) bool { return s.remote(id) != nil }
