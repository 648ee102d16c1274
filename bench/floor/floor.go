// Package floor is what the least solver costs: in-degree counters to order the
// work, one SHA-256 a vertex over its operation and its inputs' keys, and a map
// from keys to results. It has one goroutine, no jobs that share anything but
// the map, no cancellation, no progress and no disk. No solver can be cheaper
// and still know what it has built before; how much dearer one is, is what its
// other abilities cost.
//
// With content keys, a vertex has a second key, hashed from its operation and
// the contents of its inputs, which leads to the same result.
package floor

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/tenonbuild/tenon/bench"
	"github.com/tenonbuild/tenon/bench/graph"
)

type key = [sha256.Size]byte

// Subject is the floor as something to measure.
type Subject struct{}

// Name implements bench.Subject.
func (Subject) Name() string { return "floor" }

// result is what an operation returns.
type result struct{ vertex int32 }

type definition struct {
	graph   *graph.Graph
	content bool
	counts  *bench.Counts
	results []result
}

// Define implements bench.Subject.
func (Subject) Define(g *graph.Graph, content bool, c *bench.Counts) bench.Definition {
	d := &definition{graph: g, content: content, counts: c, results: make([]result, g.Len())}
	for v := range d.results {
		d.results[v].vertex = int32(v)
	}
	return d
}

// cacheMap and exec are the operation.
func (d *definition) cacheMap(v int32) *key {
	d.counts.CacheMap.Add(1)
	return d.graph.Ops.Raw(int(v))
}

func (d *definition) exec(v int32) *result {
	d.counts.Exec.Add(1)
	return &d.results[v]
}

func (d *definition) contentOf(r *result) *key {
	d.counts.Content.Add(1)
	return d.graph.Contents.Raw(int(r.vertex))
}

// store is the memo.
type store struct {
	mu   sync.Mutex // held for a whole Build: jobs take turns
	memo map[key]*result
	keep bool
}

// NewStore implements bench.Subject. There is no disk: where others have one,
// the memo stays in memory while the store is closed.
func (Subject) NewStore(dir string) (bench.Store, error) {
	return &store{memo: map[key]*result{}, keep: dir != ""}, nil
}

func (s *store) Open() error { return nil }
func (s *store) Sync() error { return nil }

func (s *store) Close() error {
	if !s.keep {
		s.memo = map[key]*result{}
	}
	return nil
}

type solver struct{ store *store }

// NewSolver implements bench.Subject.
func (Subject) NewSolver(s bench.Store) (bench.Solver, error) {
	return &solver{s.(*store)}, nil
}

func (s *solver) NewJob(string) (bench.Job, error) { return &job{store: s.store}, nil }
func (s *solver) Visits() (uint64, bool)           { return 0, false }
func (s *solver) Close()                           {}

type job struct {
	store *store
	run   *run
}

// Build implements bench.Job.
func (j *job) Build(_ context.Context, def bench.Definition) error {
	j.store.mu.Lock()
	defer j.store.mu.Unlock()
	j.run = newRun(def.(*definition))
	return j.run.solve(j.store.memo)
}

// Watch implements bench.Job: there is nothing to see.
func (j *job) Watch(context.Context) func() int { return func() int { return 0 } }

func (j *job) Release(context.Context) error { return nil }
func (j *job) Discard() error                { j.run = nil; return nil }

// run is one execution of a graph.
type run struct {
	def  *definition
	keys []key
	// waits counts the inputs of a vertex that are not there yet.
	waits []int32
	// first[v] and first[v+1] delimit the vertices that use v, in users.
	first, users []int32
	results      []*result
}

func newRun(d *definition) *run {
	g := d.graph
	n := g.Len()
	r := &run{
		def: d, keys: make([]key, n), waits: make([]int32, n), first: make([]int32, n+2),
		users: make([]int32, g.Edges()), results: make([]*result, n),
	}
	for v := range n {
		inputs := g.Inputs(v)
		r.waits[v] = int32(len(inputs))
		for _, in := range inputs {
			r.first[in+2]++
		}
	}
	for v := range n {
		r.first[v+2] += r.first[v+1]
	}
	// first[v+1] is now where the users of v begin, and where they end once they
	// are filled in.
	for v := range n {
		for _, in := range g.Inputs(v) {
			r.users[r.first[in+1]] = int32(v)
			r.first[in+1]++
		}
	}
	return r
}

func (r *run) solve(memo map[key]*result) error {
	ready := make([]int32, 0, len(r.waits))
	for v, w := range r.waits {
		if w == 0 {
			ready = append(ready, int32(v))
		}
	}
	for done := 0; done < len(ready); done++ {
		v := ready[done]
		r.vertex(v, memo)
		for _, u := range r.users[r.first[v]:r.first[v+1]] {
			r.waits[u]--
			if r.waits[u] == 0 {
				ready = append(ready, u)
			}
		}
	}
	if len(ready) != len(r.waits) {
		return errors.New("floor: the graph contains itself")
	}
	return nil
}

// vertex finds the result of v, or makes it.
func (r *run) vertex(v int32, memo map[key]*result) {
	op := r.def.cacheMap(v)
	inputs := r.def.graph.Inputs(int(v))
	k := hash(op, inputs, func(in int32) *key { return &r.keys[in] })
	r.keys[v] = k
	res, found := memo[k]
	var ck key
	content := r.def.content && len(inputs) > 0
	if content {
		ck = hash(op, inputs, func(in int32) *key { return r.def.contentOf(r.results[in]) })
	}
	if !found && content {
		res, found = memo[ck]
	}
	if !found {
		res = r.def.exec(v)
	}
	r.results[v] = res
	memo[k] = res
	if content {
		memo[ck] = res
	}
}

// hash is one SHA-256 over an operation and a key of each input.
func hash(op *key, inputs []int32, keyOf func(int32) *key) key {
	var room [8 * sha256.Size]byte
	buf := append(room[:0], op[:]...)
	if len(inputs) < 8 {
		for _, in := range inputs {
			buf = append(buf, keyOf(in)[:]...)
		}
		return sha256.Sum256(buf)
	}
	h := sha256.New()
	h.Write(buf)
	for _, in := range inputs {
		h.Write(keyOf(in)[:])
	}
	var sum key
	h.Sum(sum[:0])
	return sum
}

// Export implements bench.Job: a record for each vertex, linked to its inputs',
// in one pass.
func (j *job) Export(_ context.Context, mode bench.ExportMode) (int, error) {
	if mode == bench.ExportMin {
		return 1, nil
	}
	type record struct {
		op     key
		result *result
		links  []*record
	}
	r := j.run
	records := make([]*record, len(r.keys))
	target := map[key]*record{}
	for v := range r.keys {
		inputs := r.def.graph.Inputs(v)
		rec := &record{op: *r.def.graph.Ops.Raw(v), result: r.results[v], links: make([]*record, len(inputs))}
		for i, in := range inputs {
			rec.links[i] = records[in]
		}
		var name key = rec.op
		binary.LittleEndian.PutUint32(name[:4], uint32(v))
		target[name], records[v] = rec, rec
	}
	return len(target), nil
}
