// Package solvertest helps those who implement or embed the solver's interfaces:
// suites that prove an implementation, and vertices, ops and results whose calls
// are counted.
package solvertest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// Node describes a vertex, and the op behind it. The zero value of every field
// is a sensible default. A Node is a solver.Vertex; Resolve is the
// solver.ResolveOpFunc for it. It must not be changed once it is used.
type Node struct {
	// ID makes the vertex's digest and, unless Key is set, its cache map's.
	ID string
	// Key makes the digest of the cache map. Nodes of one Key and equal inputs
	// have equal cache keys.
	Key string
	// Keys, if set, make the digests of several cache maps, in place of Key.
	Keys []string
	// In are the inputs.
	In []Input
	// Outputs is how many results Exec returns; 0 stands for 1.
	Outputs int
	// Alias, if set, makes an alias of a node without inputs.
	Alias string
	// Local has the digests of the cache maps of a node without inputs be for the default
	// cache alone.
	Local bool
	// Value is the value of the results; "" stands for one that is computed from
	// Key and the values of the inputs. Output n>0 has "#n" appended.
	Value string
	// Opts are the vertex's options.
	Opts solver.VertexOptions

	// OnResolve, OnCacheMap and OnExec, if set, are called first; an error is
	// what the method returns. They may block.
	OnResolve  func(solver.Builder) error
	OnCacheMap func(ctx context.Context, index int) error
	OnExec     func(ctx context.Context, inputs []solver.Result) error
	// Exec, if set, replaces what Exec does after OnExec.
	Exec func(ctx context.Context, b solver.Builder, inputs []solver.Result) ([]solver.Result, error)

	// Stats counts the calls; nil counts nothing.
	Stats *Stats
}

// Input is one input of a Node.
type Input struct {
	Node     *Node
	Output   int
	Selector string
	// Content gives the input a content key: the digest of its value.
	Content bool
	// Alias gives the content key an alias, which does not tell upper from lower case.
	Alias bool
	// Local has the content key be for the default cache alone.
	Local bool
	// OnDigest, if set, is called before the content key is computed.
	OnDigest func(ctx context.Context) error
}

// Stats counts what is called, and which results are held.
type Stats struct {
	Resolved, CacheMaps, Execs, Digests atomic.Int64
	// Live is how many results have been handed to the solver, by Exec or by a
	// Results storage, and not been released.
	Live atomic.Int64

	mu sync.Mutex
	// execs counts by ID.
	execs map[string]int
	// faults are releases of what was released.
	faults []string
}

// Executed returns how often the op of a node was run.
func (s *Stats) Executed(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.execs[id]
}

func (s *Stats) ran(id string) {
	s.Execs.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.execs == nil {
		s.execs = map[string]int{}
	}
	s.execs[id]++
}

// Faults returns what was done to results that must not be.
func (s *Stats) Faults() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.faults...)
}

// Edge returns an output of a node.
func (n *Node) Edge(output int) solver.Edge {
	return solver.Edge{Vertex: n, Index: solver.Index(output)}
}

// Digest implements solver.Vertex.
func (n *Node) Digest() digest.Digest { return digest.FromString("vertex " + n.ID) }

// Sys implements solver.Vertex. It returns the node.
func (n *Node) Sys() interface{} { return n }

// Options implements solver.Vertex.
func (n *Node) Options() solver.VertexOptions { return n.Opts }

// Name implements solver.Vertex.
func (n *Node) Name() string { return n.ID }

// Inputs implements solver.Vertex.
func (n *Node) Inputs() []solver.Edge {
	out := make([]solver.Edge, len(n.In))
	for i, in := range n.In {
		out[i] = in.Node.Edge(in.Output)
	}
	return out
}

// Resolve is the solver.ResolveOpFunc for nodes.
func Resolve(v solver.Vertex, b solver.Builder) (solver.Op, error) {
	n, ok := v.Sys().(*Node)
	if !ok {
		return nil, fmt.Errorf("not a node: %T", v.Sys())
	}
	stats := n.Stats
	if stats == nil {
		stats = &Stats{}
	}
	stats.Resolved.Add(1)
	if n.OnResolve != nil {
		if err := n.OnResolve(b); err != nil {
			return nil, err
		}
	}
	return &op{n, b, stats}, nil
}

type op struct {
	n     *Node
	b     solver.Builder
	stats *Stats
}

func (n *Node) key() string {
	if n.Key != "" {
		return n.Key
	}
	return n.ID
}

func (o *op) CacheMap(ctx context.Context, index int) (*solver.CacheMap, bool, error) {
	n := o.n
	o.stats.CacheMaps.Add(1)
	if n.OnCacheMap != nil {
		if err := n.OnCacheMap(ctx, index); err != nil {
			return nil, false, err
		}
	}
	key, last := n.key(), true
	if len(n.Keys) > 0 {
		key, last = n.Keys[index], index == len(n.Keys)-1
	}
	dgst := digest.FromString("op " + key)
	if n.Local {
		dgst = solver.LocalPrefix + digest.Digest(dgst.Encoded())
	}
	cm := solver.NewCacheMap(dgst, len(n.In))
	for i, in := range n.In {
		d := &cm.Deps[i]
		if in.Selector != "" {
			d.Selector = digest.FromString("selector " + in.Selector)
		}
		if in.Content {
			d.ComputeDigestFunc = func(ctx context.Context, r solver.Result) (digest.Digest, error) {
				o.stats.Digests.Add(1)
				if in.OnDigest != nil {
					if err := in.OnDigest(ctx); err != nil {
						return "", err
					}
				}
				d := digest.FromString("content " + Value(r) + " seen through " + in.Selector)
				if in.Local {
					d = solver.LocalPrefix + digest.Digest(d.Encoded())
				}
				return d, nil
			}
		}
	}
	return cm, last, nil
}

// Aliases implements solver.Aliaser.
func (o *op) Aliases(int) (a solver.Aliases) {
	if o.n.Alias != "" {
		a.Digest = digest.FromString("op alias " + o.n.Alias)
	}
	for i, in := range o.n.In {
		if !in.Alias {
			continue
		}
		if a.Contents == nil {
			a.Contents = make([]solver.ResultBasedCacheFunc, len(o.n.In))
		}
		a.Contents[i] = func(_ context.Context, r solver.Result) (digest.Digest, error) {
			return digest.FromString("content alias " + strings.ToLower(Value(r))), nil
		}
	}
	return a
}

func (o *op) Exec(ctx context.Context, inputs []solver.Result) ([]solver.Result, error) {
	n := o.n
	o.stats.ran(n.ID)
	if n.OnExec != nil {
		if err := n.OnExec(ctx, inputs); err != nil {
			return nil, err
		}
	}
	if n.Exec != nil {
		return n.Exec(ctx, o.b, inputs)
	}
	value := n.Value
	if value == "" {
		var in []string
		for _, r := range inputs {
			in = append(in, Value(r))
		}
		value = n.key() + "(" + strings.Join(in, ",") + ")"
	}
	out := make([]solver.Result, max(1, n.Outputs))
	for i := range out {
		v := value
		if i > 0 {
			v = fmt.Sprintf("%s#%d", value, i)
		}
		out[i] = NewResult(v, o.stats)
	}
	return out, nil
}
