package solvertest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
)

// StorageModel is a solver.CacheKeyStorage that is too simple to be wrong and
// too slow to be used, to hold another against.
type StorageModel struct {
	mu    sync.Mutex
	nodes map[string]map[string]solver.CacheResult // by node and result
	links map[modelLink]struct{}
}

type modelLink struct {
	from string
	link solver.CacheInfoLink
	to   string
}

var _ solver.CacheKeyStorage = (*StorageModel)(nil)

// NewStorageModel returns an empty model.
func NewStorageModel() *StorageModel {
	return &StorageModel{
		nodes: make(map[string]map[string]solver.CacheResult),
		links: make(map[modelLink]struct{}),
	}
}

// Clone returns a copy.
func (m *StorageModel) Clone() *StorageModel {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewStorageModel()
	for id, results := range m.nodes {
		c.nodes[id] = maps.Clone(results)
	}
	c.links = maps.Clone(m.links)
	return c
}

func (m *StorageModel) touch(id string) {
	if m.nodes[id] == nil {
		m.nodes[id] = make(map[string]solver.CacheResult)
	}
}

// Exists implements solver.CacheKeyStorage.
func (m *StorageModel) Exists(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes[id] != nil
}

// visit visits what gather adds. Gather is called under the lock, fn without it.
func visit[T any](m *StorageModel, gather func(add func(T)), fn func(T) error) error {
	var all []T
	m.mu.Lock()
	gather(func(e T) { all = append(all, e) })
	m.mu.Unlock()
	for _, e := range all {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// Walk implements solver.CacheKeyStorage.
func (m *StorageModel) Walk(fn func(id string) error) error {
	return visit(m, func(add func(string)) {
		for id := range m.nodes {
			add(id)
		}
	}, fn)
}

// WalkResults implements solver.CacheKeyStorage.
func (m *StorageModel) WalkResults(id string, fn func(solver.CacheResult) error) error {
	return visit(m, func(add func(solver.CacheResult)) {
		for _, res := range m.nodes[id] {
			add(res)
		}
	}, fn)
}

// Load implements solver.CacheKeyStorage.
func (m *StorageModel) Load(id string, resultID string) (solver.CacheResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	res, ok := m.nodes[id][resultID]
	if !ok {
		return solver.CacheResult{}, solver.ErrNotFound
	}
	return res, nil
}

// AddResult implements solver.CacheKeyStorage.
func (m *StorageModel) AddResult(id string, res solver.CacheResult) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.touch(id)
	m.nodes[id][res.ID] = res
	return nil
}

// Release implements solver.CacheKeyStorage.
func (m *StorageModel) Release(resultID string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var suspects []string
	for id, results := range m.nodes {
		if _, ok := results[resultID]; ok {
			delete(results, resultID)
			suspects = append(suspects, id)
		}
	}
	for len(suspects) > 0 {
		id := suspects[0]
		suspects = suspects[1:]
		if len(m.nodes[id]) > 0 || m.hasLinks(id) {
			continue
		}
		delete(m.nodes, id)
		for l := range m.links {
			if l.to == id {
				delete(m.links, l)
				suspects = append(suspects, l.from)
			}
		}
	}
	return nil
}

func (m *StorageModel) hasLinks(id string) bool {
	for l := range m.links {
		if l.from == id {
			return true
		}
	}
	return false
}

// WalkIDsByResult implements solver.CacheKeyStorage.
func (m *StorageModel) WalkIDsByResult(resultID string, fn func(string) error) error {
	return visit(m, func(add func(string)) {
		for id, results := range m.nodes {
			if _, ok := results[resultID]; ok {
				add(id)
			}
		}
	}, fn)
}

// AddLink implements solver.CacheKeyStorage.
func (m *StorageModel) AddLink(id string, link solver.CacheInfoLink, target string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.touch(id)
	m.touch(target)
	m.links[modelLink{id, link, target}] = struct{}{}
	return nil
}

// WalkLinks implements solver.CacheKeyStorage.
func (m *StorageModel) WalkLinks(id string, link solver.CacheInfoLink, fn func(id string) error) error {
	return visit(m, func(add func(string)) {
		for l := range m.links {
			if l.from == id && l.link == link {
				add(l.to)
			}
		}
	}, fn)
}

// HasLink implements solver.CacheKeyStorage.
func (m *StorageModel) HasLink(id string, link solver.CacheInfoLink, target string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.links[modelLink{id, link, target}]
	return ok
}

// WalkBacklinks implements solver.CacheKeyStorage.
func (m *StorageModel) WalkBacklinks(id string, fn func(id string, link solver.CacheInfoLink) error) error {
	return visit(m, func(add func(modelLink)) {
		for l := range m.links {
			if l.to == id {
				add(l)
			}
		}
	}, func(l modelLink) error { return fn(l.from, l.link) })
}

// StorageOp is a change of a storage.
type StorageOp struct {
	// Kind is AddResult, AddLink or Release.
	Kind   string
	ID     string
	Result solver.CacheResult
	Link   solver.CacheInfoLink
	Target string
}

// Apply makes the change.
func (op StorageOp) Apply(s solver.CacheKeyStorage) error {
	switch op.Kind {
	case "AddResult":
		return s.AddResult(op.ID, op.Result)
	case "AddLink":
		return s.AddLink(op.ID, op.Link, op.Target)
	case "Release":
		return s.Release(op.Result.ID)
	}
	return fmt.Errorf("no such change: %q", op.Kind)
}

// RandomStorageOp returns a change of a storage of about n nodes, whose graph
// has no cycles: a storage may or may not remove cycles that lead to no result.
// Names come in the forms that the solver uses, and in others.
func RandomStorageOp(rng *rand.Rand, n int) StorageOp {
	res := solver.CacheResult{
		ID:        fmt.Sprint("result-", rng.IntN(n)),
		CreatedAt: time.Unix(rng.Int64N(1<<34), rng.Int64N(1e9)),
	}
	switch k := rng.IntN(10); {
	case k < 4:
		return StorageOp{Kind: "AddResult", ID: opNode(rng.IntN(n)), Result: res}
	case k < 8:
		from := rng.IntN(n)
		// Some nodes have many links, from them or to them.
		switch rng.IntN(4) {
		case 0:
			from = 0
		case 1:
			return StorageOp{Kind: "AddLink", ID: opNode(from), Link: opLink(rng), Target: opNode(n)}
		}
		return StorageOp{Kind: "AddLink", ID: opNode(from), Link: opLink(rng), Target: opNode(from + 1 + rng.IntN(n-from))}
	}
	return StorageOp{Kind: "Release", Result: res}
}

// opNode names a node.
func opNode(i int) string {
	d := digest.FromString(fmt.Sprint(i))
	switch i % 3 {
	case 0:
		return string(d)
	case 1:
		return d.Encoded()[:43]
	}
	return fmt.Sprintf("%s@%d", d.Encoded()[:43], i)
}

func opLink(rng *rand.Rand) solver.CacheInfoLink {
	l := solver.CacheInfoLink{Input: solver.Index(rng.IntN(2)), Digest: digest.FromString(fmt.Sprint(rng.IntN(3)))}
	switch rng.IntN(8) {
	case 0:
		l.Selector = digest.FromString("selector")
	case 1:
		l.Output = solver.Index(rng.IntN(3) - 1)
	}
	return l
}

// forget drops what a storage may have removed, and has: nodes that lead to nothing but each
// other.
func (m *StorageModel) forget(got solver.CacheKeyStorage) {
	alive := m.alive()
	for id := range m.nodes {
		if !alive[id] && !got.Exists(id) {
			delete(m.nodes, id)
		}
	}
	for l := range m.links {
		if m.nodes[l.from] == nil || m.nodes[l.to] == nil {
			delete(m.links, l)
		}
	}
}

// alive returns the nodes that lead to a result, or to a node without links.
func (m *StorageModel) alive() map[string]bool {
	alive := make(map[string]bool)
	for id, results := range m.nodes {
		if len(results) > 0 || !m.hasLinks(id) {
			alive[id] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for l := range m.links {
			if alive[l.to] && !alive[l.from] {
				alive[l.from], grown = true, true
			}
		}
	}
	return alive
}
