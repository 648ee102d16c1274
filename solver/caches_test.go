package solver_test

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// foreign is a manager that has nothing but the interface's methods. Before, if
// set, is called first, with the method's name; an error is what is returned.
type foreign struct {
	m       solver.CacheManager
	before  func(method string) error
	queries atomic.Int64
}

func (f *foreign) call(method string) error {
	if f.before == nil {
		return nil
	}
	return f.before(method)
}

func (f *foreign) ID() string {
	if f.call("ID") != nil {
		return ""
	}
	return f.m.ID()
}

func (f *foreign) Query(inp []solver.CacheKeyWithSelector, input solver.Index, dgst digest.Digest, output solver.Index) ([]*solver.CacheKey, error) {
	f.queries.Add(1)
	if err := f.call("Query"); err != nil {
		return nil, err
	}
	return f.m.Query(inp, input, dgst, output)
}

func (f *foreign) Records(ck *solver.CacheKey) ([]*solver.CacheRecord, error) {
	if err := f.call("Records"); err != nil {
		return nil, err
	}
	return f.m.Records(ck)
}

func (f *foreign) Load(ctx context.Context, rec *solver.CacheRecord) (solver.Result, error) {
	if err := f.call("Load"); err != nil {
		return nil, err
	}
	return f.m.Load(ctx, rec)
}

func (f *foreign) Save(key *solver.CacheKey, r solver.Result) (*solver.ExportableCacheKey, error) {
	if err := f.call("Save"); err != nil {
		return nil, err
	}
	return f.m.Save(key, r)
}

// storage is a key storage that calls before first, with the method's name; an
// error is what is returned.
type storage struct {
	solver.CacheKeyStorage
	memory bool // what it says of itself
	before func(method string) error
}

func (s *storage) AnswersFromMemory() bool { return s.memory }

func (s *storage) call(method string) error {
	if s.before == nil {
		return nil
	}
	return s.before(method)
}

func (s *storage) Exists(id string) bool {
	return s.call("Exists") == nil && s.CacheKeyStorage.Exists(id)
}

func (s *storage) WalkResults(id string, fn func(solver.CacheResult) error) error {
	if err := s.call("WalkResults"); err != nil {
		return err
	}
	return s.CacheKeyStorage.WalkResults(id, fn)
}

func (s *storage) Load(id, resultID string) (solver.CacheResult, error) {
	if err := s.call("Load"); err != nil {
		return solver.CacheResult{}, err
	}
	return s.CacheKeyStorage.Load(id, resultID)
}

func (s *storage) AddResult(id string, res solver.CacheResult) error {
	if err := s.call("AddResult"); err != nil {
		return err
	}
	return s.CacheKeyStorage.AddResult(id, res)
}

func (s *storage) Release(resultID string) error {
	if err := s.call("Release"); err != nil {
		return err
	}
	return s.CacheKeyStorage.Release(resultID)
}

func (s *storage) AddLink(id string, link solver.CacheInfoLink, target string) error {
	if err := s.call("AddLink"); err != nil {
		return err
	}
	return s.CacheKeyStorage.AddLink(id, link, target)
}

func (s *storage) WalkLinks(id string, link solver.CacheInfoLink, fn func(id string) error) error {
	if err := s.call("WalkLinks"); err != nil {
		return err
	}
	return s.CacheKeyStorage.WalkLinks(id, link, fn)
}

func (s *storage) HasLink(id string, link solver.CacheInfoLink, target string) bool {
	return s.call("HasLink") == nil && s.CacheKeyStorage.HasLink(id, link, target)
}

// errBroken is what broken caches and ops fail with.
var errBroken = errors.New("broken on purpose")

// breaking fails one method, by an error or a panic.
func breaking(method string, panics bool) func(string) error {
	return func(m string) error {
		if m != method {
			return nil
		}
		if panics {
			panic(errBroken.Error())
		}
		return errBroken
	}
}
