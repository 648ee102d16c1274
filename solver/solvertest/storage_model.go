package solvertest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
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

// collect runs fn under the lock. What it returns is visited without.
func collect[T any](m *StorageModel, fn func() []T) []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fn()
}

func visitAll[T any](list []T, fn func(T) error) error {
	for _, e := range list {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// Walk implements solver.CacheKeyStorage.
func (m *StorageModel) Walk(fn func(id string) error) error {
	return visitAll(collect(m, func() []string { return slices.Sorted(maps.Keys(m.nodes)) }), fn)
}

// WalkResults implements solver.CacheKeyStorage.
func (m *StorageModel) WalkResults(id string, fn func(solver.CacheResult) error) error {
	return visitAll(collect(m, func() []solver.CacheResult { return slices.Collect(maps.Values(m.nodes[id])) }), fn)
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
	return visitAll(collect(m, func() (out []string) {
		for id, results := range m.nodes {
			if _, ok := results[resultID]; ok {
				out = append(out, id)
			}
		}
		return out
	}), fn)
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
	return visitAll(collect(m, func() (out []string) {
		for l := range m.links {
			if l.from == id && l.link == link {
				out = append(out, l.to)
			}
		}
		return out
	}), fn)
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
	list := collect(m, func() (out []storageLink) {
		for l := range m.links {
			if l.to == id {
				out = append(out, storageLink{l.from, l.link})
			}
		}
		return out
	})
	return visitAll(list, func(bl storageLink) error { return fn(bl.from, bl.link) })
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

// DiffStorage returns in what got differs from want, or disagrees with itself.
func DiffStorage(got, want solver.CacheKeyStorage) error {
	if err := checkStorage(got); err != nil {
		return err
	}
	gotNodes, err := storageNodes(got)
	if err != nil {
		return err
	}
	wantNodes, err := storageNodes(want)
	if err != nil {
		return err
	}
	slices.Sort(gotNodes)
	slices.Sort(wantNodes)
	if !slices.Equal(gotNodes, wantNodes) {
		return fmt.Errorf("nodes: got %q, want %q", gotNodes, wantNodes)
	}
	return diffNodes(got, want, wantNodes)
}

// diffNodes compares some nodes.
func diffNodes(got, want solver.CacheKeyStorage, ids []string) error {
	for _, id := range ids {
		if err := diffResults(got, want, id); err != nil {
			return fmt.Errorf("node %q: %w", id, err)
		}
		g, err := storageBacklinks(got, id)
		if err != nil {
			return err
		}
		w, err := storageBacklinks(want, id)
		if err != nil {
			return err
		}
		slices.SortFunc(g, compareBacklinks)
		slices.SortFunc(w, compareBacklinks)
		if !slices.Equal(g, w) {
			return fmt.Errorf("links to %q: got %v, want %v", id, g, w)
		}
	}
	return nil
}

func diffResults(got, want solver.CacheKeyStorage, id string) error {
	g, err := storageResults(got, id)
	if err != nil {
		return err
	}
	w, err := storageResults(want, id)
	if err != nil {
		return err
	}
	if len(g) != len(w) {
		return fmt.Errorf("results: got %v, want %v", g, w)
	}
	for _, res := range w {
		if have, err := got.Load(id, res.ID); err != nil || !have.CreatedAt.Equal(res.CreatedAt) {
			return fmt.Errorf("result %q: got %v (%v), want %v", res.ID, have, err, res)
		}
	}
	return nil
}

const randomSeeds = 20

func testRandom(t *testing.T, open func(t *testing.T) solver.CacheKeyStorage) {
	for seed := range uint64(randomSeeds) {
		rng := rand.New(rand.NewPCG(seed, 1))
		got, want := open(t), NewStorageModel()
		n := 2 + rng.IntN(40)
		for i := range 300 {
			op := RandomStorageOp(rng, n)
			noError(t, op.Apply(want))
			if err := op.Apply(got); err != nil {
				t.Fatalf("seed %d, step %d, %+v: %v", seed, i, op, err)
			}
			if i%10 != 0 {
				continue
			}
			if err := DiffStorage(got, want); err != nil {
				t.Fatalf("seed %d, step %d, %+v: %v", seed, i, op, err)
			}
		}
	}
}

// testRandomCycles: graphs with cycles are built, and then released. What leads
// to a result, or to a node that never had one, is all there.
func testRandomCycles(t *testing.T, open func(t *testing.T) solver.CacheKeyStorage) {
	for seed := range uint64(randomSeeds) {
		rng := rand.New(rand.NewPCG(seed, 2))
		got, want := open(t), NewStorageModel()
		n := 2 + rng.IntN(15)
		for range n * 3 {
			op := StorageOp{Kind: "AddLink", ID: opNode(rng.IntN(n)), Link: opLink(rng), Target: opNode(rng.IntN(n))}
			if rng.IntN(3) == 0 {
				op = StorageOp{Kind: "AddResult", ID: op.ID, Result: someResult(fmt.Sprint("r", rng.IntN(n)))}
			}
			noError(t, op.Apply(want))
			noError(t, op.Apply(got))
		}
		if err := DiffStorage(got, want); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, i := range rng.Perm(n) {
			noError(t, got.Release(fmt.Sprint("r", i)))
			noError(t, want.Release(fmt.Sprint("r", i)))
			if err := diffAlive(got, want); err != nil {
				t.Fatalf("seed %d, after the release of r%d: %v", seed, i, err)
			}
		}
	}
}

// diffAlive is DiffStorage for what got must have of want: it may have removed
// nodes that lead to nothing but each other.
func diffAlive(got solver.CacheKeyStorage, want *StorageModel) error {
	if err := checkStorage(got); err != nil {
		return err
	}
	gotNodes, err := storageNodes(got)
	if err != nil {
		return err
	}
	for _, id := range gotNodes {
		if !want.Exists(id) {
			return fmt.Errorf("node %q should be gone", id)
		}
	}
	alive := want.alive()
	pruned := want.Clone()
	for id := range want.nodes {
		if !alive[id] && !got.Exists(id) {
			delete(pruned.nodes, id)
		}
	}
	for l := range want.links {
		if pruned.nodes[l.from] == nil || pruned.nodes[l.to] == nil {
			delete(pruned.links, l)
		}
	}
	return DiffStorage(got, pruned)
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
