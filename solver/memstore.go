package solver

import (
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/keygraph"
)

// graphStorage is a graph of keys as a CacheKeyStorage.
type graphStorage struct{ graph *keygraph.Graph }

// NewInMemoryCacheStorage returns a storage that keeps everything in memory.
func NewInMemoryCacheStorage() CacheKeyStorage {
	return &graphStorage{keygraph.New()}
}

// Graph is the graph itself, which the managers of this package use.
func (s *graphStorage) Graph() *keygraph.Graph { return s.graph }

// AnswersFromMemory implements MemoryAnswerer.
func (s *graphStorage) AnswersFromMemory() bool { return true }

func (s *graphStorage) Exists(id string) bool { return s.graph.Has(id) }

func (s *graphStorage) Walk(fn func(id string) error) error { return s.graph.Walk(fn) }

func (s *graphStorage) WalkResults(id string, fn func(CacheResult) error) error {
	var room [4]keygraph.Result
	for _, r := range s.graph.Results(id, room[:0]) {
		if err := fn(CacheResult(r)); err != nil {
			return err
		}
	}
	return nil
}

func (s *graphStorage) Load(id string, resultID string) (CacheResult, error) {
	r, ok := s.graph.Load(id, resultID)
	if !ok {
		return CacheResult{}, ErrNotFound
	}
	return CacheResult(r), nil
}

func (s *graphStorage) AddResult(id string, res CacheResult) error {
	return s.graph.AddResult(id, keygraph.Result(res))
}

func (s *graphStorage) Release(resultID string) error { return s.graph.Release(resultID) }

func (s *graphStorage) WalkIDsByResult(resultID string, fn func(string) error) error {
	return eachString(s.graph.Holders(resultID), fn)
}

func (s *graphStorage) AddLink(id string, link CacheInfoLink, target string) error {
	return s.graph.AddLink(id, graphLink(link), target)
}

func (s *graphStorage) WalkLinks(id string, link CacheInfoLink, fn func(id string) error) error {
	return eachString(s.graph.Targets(id, graphLink(link)), fn)
}

func (s *graphStorage) HasLink(id string, link CacheInfoLink, target string) bool {
	return s.graph.HasLink(id, graphLink(link), target)
}

func (s *graphStorage) WalkBacklinks(id string, fn func(id string, link CacheInfoLink) error) error {
	var room [4]keygraph.Backlink
	for _, b := range s.graph.Backlinks(id, room[:0]) {
		if err := fn(b.From, publicLink(b.Link)); err != nil {
			return err
		}
	}
	return nil
}

func graphLink(l CacheInfoLink) keygraph.Link {
	return keygraph.Link{Input: int(l.Input), Output: int(l.Output), Op: string(l.Digest), Selector: string(l.Selector)}
}

func publicLink(l keygraph.Link) CacheInfoLink {
	return CacheInfoLink{Input: Index(l.Input), Output: Index(l.Output), Digest: digest.Digest(l.Op), Selector: digest.Digest(l.Selector)}
}

func eachString(list []string, fn func(string) error) error {
	for _, s := range list {
		if err := fn(s); err != nil {
			return err
		}
	}
	return nil
}
