package solver

import (
	"errors"
	"math"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/keygraph"
)

// keyStore is what a manager asks of a storage of keys: whole look-ups and whole
// writes. The graphs of this module answer it in one step; of another CacheKeyStorage
// it is made up by publicStore.
type keyStore interface {
	// inMemory reports whether look-ups are answered from memory.
	inMemory() bool
	exists(id string) bool
	// save stores a result under a key, unless the result has no ID, and the links from
	// all that is known of the key's inputs to the key.
	save(key *CacheKey, res CacheResult) error
	// leads reports whether any alternative of an input leads to the operation.
	leads(dep keyDep, op digest.Digest, input, output Index) (bool, error)
	// targets are the keys of the operation that an input leads to, by any alternative.
	targets(dep keyDep, op digest.Digest, input, output Index) ([]string, error)
	// match finds the keys of the operation that all inputs lead to.
	match(deps []keyDep, op digest.Digest, output Index) ([]string, error)
	// results appends to buf what is stored under a key.
	results(id string, buf []CacheResult) ([]CacheResult, error)
	// backlinks appends to buf the links that lead to a key.
	backlinks(id string, buf []backlink) ([]backlink, error)
}

// backlink is a link as WalkBacklinks tells it.
type backlink struct {
	from string
	link CacheInfoLink
}

// keyGrapher is implemented by the storages of this module.
type keyGrapher interface{ Graph() *keygraph.Graph }

func newKeyStore(s CacheKeyStorage) keyStore {
	if g, ok := s.(keyGrapher); ok {
		return (*graphStore)(g.Graph())
	}
	a, ok := s.(MemoryAnswerer)
	return publicStore{s, ok && a.AnswersFromMemory()}
}

// MayHaveOp reports whether a storage may have a link of an output of an operation, from any
// key of any input that is seen through a selector. It may only say no where there is none, and
// does for the storages of this module.
func MayHaveOp(s CacheKeyStorage, op digest.Digest, output Index, selector digest.Digest) bool {
	g, ok := s.(keyGrapher)
	return !ok || g.Graph().HasOp(string(op), int(output), string(selector))
}

// graphStore is a graph as a keyStore.
type graphStore keygraph.Graph

func (g *graphStore) graph() *keygraph.Graph { return (*keygraph.Graph)(g) }

func (g *graphStore) inMemory() bool { return true }

func (g *graphStore) exists(id string) bool { return g.graph().Has(id) }

// fewSources is for how many alternatives of all inputs there is room without an
// allocation.
const fewSources = 10

func (d *keyDep) appendSources(buf []keygraph.Source, input Index) []keygraph.Source {
	for j := range d.alternatives() {
		from, selector := d.alternative(j)
		buf = append(buf, keygraph.Source{Input: int(input), ID: from.ID, Selector: string(selector)})
	}
	return buf
}

func (g *graphStore) save(key *CacheKey, res CacheResult) error {
	var room [fewSources]keygraph.Source
	sources := room[:0]
	for i := range key.deps {
		dep := &key.deps[i]
		sources = dep.appendSources(sources, Index(i))
		dep.eachAlias(func(id string, selector digest.Digest) {
			sources = append(sources, keygraph.Source{Input: i, ID: id, Selector: string(selector)})
		})
	}
	return g.graph().Save(&keygraph.Save{
		ID: key.ID, Result: keygraph.Result(res), Op: string(key.digest), Output: int(key.output), Sources: sources,
	})
}

func (g *graphStore) leads(dep keyDep, op digest.Digest, input, output Index) (bool, error) {
	var room [2]keygraph.Source
	return g.graph().Leads(string(op), int(output), dep.appendSources(room[:0], input)), nil
}

func (g *graphStore) targets(dep keyDep, op digest.Digest, input, output Index) ([]string, error) {
	var room [fewSources]keygraph.Source
	return g.graph().Match(string(op), int(output), dep.appendSources(room[:0], input)), nil
}

func (g *graphStore) match(deps []keyDep, op digest.Digest, output Index) ([]string, error) {
	var room [fewSources]keygraph.Source
	sources := room[:0]
	for i := range deps {
		if deps[i].alternatives() == 0 {
			return nil, nil
		}
		sources = deps[i].appendSources(sources, Index(i))
	}
	return g.graph().Match(string(op), int(output), sources), nil
}

func (g *graphStore) results(id string, buf []CacheResult) ([]CacheResult, error) {
	var room [4]keygraph.Result
	for _, r := range g.graph().Results(id, room[:0]) {
		buf = append(buf, CacheResult(r))
	}
	return buf, nil
}

func (g *graphStore) backlinks(id string, buf []backlink) ([]backlink, error) {
	var room [4]keygraph.Backlink
	for _, b := range g.graph().Backlinks(id, room[:0]) {
		buf = append(buf, backlink{from: b.From, link: publicLink(b.Link)})
	}
	return buf, nil
}

// publicStore makes a keyStore of a storage of which no more is known than that it is
// one.
type publicStore struct {
	CacheKeyStorage
	memory bool
}

func (s publicStore) inMemory() bool { return s.memory }

func (s publicStore) exists(id string) bool { return s.Exists(id) }

func (s publicStore) save(key *CacheKey, res CacheResult) error {
	known := res.ID == "" || s.Exists(key.ID)
	if res.ID != "" {
		// The result comes first, so that a link leads to something from its first moment.
		if err := s.AddResult(key.ID, res); err != nil {
			return err
		}
	}
	var err error
	for i := range key.deps {
		dep := &key.deps[i]
		add := func(from string, selector digest.Digest) {
			link := CacheInfoLink{Input: Index(i), Output: key.output, Digest: key.digest, Selector: selector}
			// To read is cheaper than to write what is there.
			if err == nil && !(known && s.HasLink(from, link, key.ID)) {
				err = s.AddLink(from, link, key.ID)
			}
		}
		for j := range dep.alternatives() {
			from, selector := dep.alternative(j)
			add(from.ID, selector)
		}
		dep.eachAlias(add)
	}
	return err
}

// errEnough ends a walk that has seen enough.
var errEnough = errors.New("enough")

func (s publicStore) leads(dep keyDep, op digest.Digest, input, output Index) (bool, error) {
	ids, err := s.some(dep, op, input, output, 1)
	return len(ids) > 0, err
}

func (s publicStore) targets(dep keyDep, op digest.Digest, input, output Index) ([]string, error) {
	return s.some(dep, op, input, output, math.MaxInt)
}

// some are targets, as many as there are up to a limit.
func (s publicStore) some(dep keyDep, op digest.Digest, input, output Index, limit int) (ids []string, err error) {
	link := CacheInfoLink{Input: input, Output: output, Digest: op}
	for j := range dep.alternatives() {
		from, selector := dep.alternative(j)
		link.Selector = selector
		err = s.WalkLinks(from.ID, link, func(target string) error {
			if ids = append(ids, target); len(ids) == limit {
				return errEnough
			}
			return nil
		})
		if err != nil {
			break
		}
	}
	if errors.Is(err, errEnough) {
		err = nil
	}
	return ids, err
}

// countedTargets is how far the targets of an input are counted to see which input has
// the fewest.
const countedTargets = 64

// match goes through the targets of one input only, the one that has the fewest: an
// input that everything uses costs little where another one tells more.
func (s publicStore) match(deps []keyDep, op digest.Digest, output Index) ([]string, error) {
	best, fewest := 0, math.MaxInt
	for i := range deps {
		if len(deps) == 1 {
			break
		}
		ids, err := s.some(deps[i], op, Index(i), output, countedTargets)
		if len(ids) == 0 || err != nil {
			return nil, err
		}
		if len(ids) < fewest {
			best, fewest = i, len(ids)
		}
	}
	ids, err := s.targets(deps[best], op, Index(best), output)
	for i := range deps {
		if i != best && len(ids) > 0 && err == nil {
			ids, err = s.reached(deps[i], op, Index(i), output, ids)
		}
	}
	return ids, err
}

// reached filters ids in place: those stay to which an input leads.
func (s publicStore) reached(dep keyDep, op digest.Digest, input, output Index, ids []string) ([]string, error) {
	if alternatives := dep.alternatives(); len(ids) > 1 && len(ids)*alternatives > countedTargets {
		// Where many meet many, listing all of them is less than asking for each.
		all, err := s.targets(dep, op, input, output)
		slices.Sort(all)
		return slices.DeleteFunc(ids, func(id string) bool {
			_, found := slices.BinarySearch(all, id)
			return !found
		}), err
	}
	return slices.DeleteFunc(ids, func(id string) bool {
		for j := range dep.alternatives() {
			from, selector := dep.alternative(j)
			if s.HasLink(from.ID, CacheInfoLink{Input: input, Output: output, Digest: op, Selector: selector}, id) {
				return false
			}
		}
		return true
	}), nil
}

func (s publicStore) results(id string, buf []CacheResult) ([]CacheResult, error) {
	err := s.WalkResults(id, func(res CacheResult) error {
		buf = append(buf, res)
		return nil
	})
	return buf, err
}

func (s publicStore) backlinks(id string, buf []backlink) ([]backlink, error) {
	err := s.WalkBacklinks(id, func(from string, link CacheInfoLink) error {
		buf = append(buf, backlink{from: from, link: link})
		return nil
	})
	return buf, err
}
