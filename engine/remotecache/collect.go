package remotecache

import (
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// Collector gathers what is exported.
type Collector struct {
	mu      sync.Mutex // guards what follows
	nodes   []*node
	visited map[any]bool
	// refs are held for what was collected, until Gather.
	refs []*store.Ref
}

var _ solver.CacheExporterTarget = (*Collector)(nil)

// node is a record while it is collected.
type node struct {
	c      *Collector
	n      int32
	digest digest.Digest
	inputs [][]link
	// results are those that it may be exported with.
	results []found
	// foreign: it is of an import.
	foreign bool
}

// NewCollector makes an empty one.
func NewCollector() *Collector { return &Collector{visited: map[any]bool{}} }

// Add implements solver.CacheExporterTarget.
func (c *Collector) Add(dgst digest.Digest) solver.CacheExporterRecord {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &node{c: c, n: int32(len(c.nodes)), digest: dgst}
	c.nodes = append(c.nodes, n)
	return n
}

// Visit implements solver.CacheExporterTarget.
func (c *Collector) Visit(v any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.visited[v] = true
}

// Visited implements solver.CacheExporterTarget.
func (c *Collector) Visited(v any) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.visited[v]
}

// AddResult implements solver.CacheExporterRecord.
func (n *node) AddResult(createdAt time.Time, res *solver.Remote) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.results = append(n.results, found{createdAt: createdAt, remote: res})
}

// LinkFrom implements solver.CacheExporterRecord.
func (n *node) LinkFrom(src solver.CacheExporterRecord, index int, selector string) {
	from, ok := src.(*node)
	if !ok || from.c != n.c || index < 0 {
		return
	}
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	for len(n.inputs) <= index {
		n.inputs = append(n.inputs, nil)
	}
	n.inputs[index] = append(n.inputs[index], link{from.n, selector})
}
