package remotecache

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	types "github.com/moby/buildkit/cache/remotecache/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// stackAt is a result by its uppermost layer: a node of a layerList.
type stackAt struct {
	top       int32
	createdAt time.Time
}

// graphOf makes a graph of nodes, whose results stacksOf gives. Records that lead to no
// result are left out, and so are links that would make a circle.
func graphOf(nodes []*node, layers *layerList, stacksOf func(*node) []stackAt) *Graph {
	b := &builder{g: &Graph{}, layers: layers}
	place := make([]int32, len(nodes))
	known := map[string]int32{}
	for n, inputs := range derive(nodes) {
		r := record{digest: nodes[n].digest, inputs: make([][]link, len(inputs))}
		for i, alternatives := range inputs {
			for _, l := range alternatives {
				r.inputs[i] = append(r.inputs[i], link{place[l.from], l.selector})
			}
		}
		r.identify(func(n int32) string { return b.g.records[n].id })
		at, ok := known[r.id]
		if !ok {
			at = int32(len(b.g.records))
			known[r.id] = at
			b.g.records = append(b.g.records, r)
		}
		place[n] = at
		b.addResult(at, stacksOf(nodes[n]))
	}
	b.g.prune()
	b.g.pruneLayers()
	b.g.index()
	return b.g
}

// builder adds results to a graph, and those layers that they have: the nodes of a list.
type builder struct {
	g      *Graph
	layers *layerList
}

// addResult gives a record the newest of some results. Equal ones are as old as the oldest.
func (b *builder) addResult(at int32, all []stackAt) {
	oldest := map[int32]time.Time{}
	for _, s := range all {
		if t, ok := oldest[s.top]; !ok || s.createdAt.Before(t) {
			oldest[s.top] = s.createdAt
		}
	}
	b.grow()
	r := &b.g.records[at]
	for top, createdAt := range oldest {
		res := result{id: b.g.layers[top].id, top: top, createdAt: createdAt}
		if len(r.results) == 0 || res.better(r.results[0]) {
			r.results = []result{res}
		}
	}
}

// grow adds the nodes of the list that are new.
func (b *builder) grow() {
	for n := len(b.g.layers); n < len(b.layers.nodes); n++ {
		node := b.layers.nodes[n]
		below := layer{}
		if node.below >= 0 {
			below = b.g.layers[node.below]
		}
		desc := b.layers.descs[node.layer]
		b.g.layers = append(b.g.layers, layer{
			desc: desc, parent: node.below, depth: below.depth + 1, id: hashAll(below.id, desc.Digest.String()),
		})
	}
}

func (r result) better(o result) bool {
	return cmp.Or(r.createdAt.Compare(o.createdAt), cmp.Compare(o.id, r.id)) > 0
}

// derive yields the nodes that can be reached from those without inputs, after what they
// are reached from, with the links of their inputs. Where equal keys make circles, links
// from what comes later are left out.
func derive(nodes []*node) func(yield func(int32, [][]link) bool) {
	return func(yield func(int32, [][]link) bool) {
		d := newDerivation(nodes)
		for {
			n, ok := d.next()
			if !ok {
				return
			}
			inputs := make([][]link, len(nodes[n].inputs))
			for i, alternatives := range nodes[n].inputs {
				for _, l := range alternatives {
					if d.done[l.from] {
						inputs[i] = append(inputs[i], l)
					}
				}
			}
			if d.finish(n); !yield(n, inputs) {
				return
			}
		}
	}
}

// derivation finds an order of nodes.
type derivation struct {
	users [][]use // of each node
	// open counts a node's inputs without a node that is done, left its links from nodes
	// that are not.
	open, left []int
	met        [][]bool // inputs with a node that is done
	done       []bool
	// ready have all of their inputs' nodes done, enough at least one for each input.
	ready, enough []int32
}

type use struct {
	by    int32
	input int
}

func newDerivation(nodes []*node) *derivation {
	n := len(nodes)
	d := &derivation{users: make([][]use, n), open: make([]int, n), left: make([]int, n), met: make([][]bool, n), done: make([]bool, n)}
	for i, node := range nodes {
		if strings.HasPrefix(node.digest.String(), randomPrefix) {
			d.open[i] = 1 // for ever
			continue
		}
		d.open[i], d.met[i] = len(node.inputs), make([]bool, len(node.inputs))
		for input, alternatives := range node.inputs {
			for _, l := range alternatives {
				d.users[l.from] = append(d.users[l.from], use{int32(i), input})
				d.left[i]++
			}
		}
		if len(node.inputs) == 0 {
			d.ready = append(d.ready, int32(i))
		}
	}
	return d
}

// next takes a node that nothing more is waited for, or the first that can do without.
func (d *derivation) next() (int32, bool) {
	for _, list := range []*[]int32{&d.ready, &d.enough} {
		for len(*list) > 0 {
			n := (*list)[0]
			if *list = (*list)[1:]; !d.done[n] {
				return n, true
			}
		}
	}
	return 0, false
}

func (d *derivation) finish(n int32) {
	d.done[n] = true
	for _, u := range d.users[n] {
		if d.met[u.by] == nil {
			continue // a random one
		}
		d.left[u.by]--
		if !d.met[u.by][u.input] {
			d.met[u.by][u.input] = true
			if d.open[u.by]--; d.open[u.by] == 0 {
				d.enough = append(d.enough, u.by)
			}
		}
		if d.left[u.by] == 0 && d.open[u.by] == 0 {
			d.ready = append(d.ready, u.by)
		}
	}
}

// prune leaves out records that lead to no result, and puts the others into an order that
// does not depend on how they were found.
func (g *Graph) prune() {
	useful := make([]bool, len(g.records))
	for n, r := range slices.Backward(g.records) {
		if useful[n] = useful[n] || len(r.results) > 0; !useful[n] {
			continue
		}
		for _, alternatives := range r.inputs {
			for _, l := range alternatives {
				useful[l.from] = true
			}
		}
	}
	place := make([]int32, len(g.records))
	kept := g.records[:0]
	for n, r := range g.records {
		if !useful[n] {
			continue
		}
		place[n] = int32(len(kept))
		for _, alternatives := range r.inputs {
			for j := range alternatives {
				alternatives[j].from = place[alternatives[j].from]
			}
		}
		kept = append(kept, r)
	}
	g.records = kept
}

// pruneLayers leaves out layers that no result has. Those below others come first.
func (g *Graph) pruneLayers() {
	used := make([]bool, len(g.layers))
	for _, r := range g.records {
		for _, res := range r.results {
			used[res.top] = true
		}
	}
	for n := len(g.layers) - 1; n >= 0; n-- {
		if below := g.layers[n].parent; used[n] && below >= 0 {
			used[below] = true
		}
	}
	place := make([]int32, len(g.layers))
	kept := g.layers[:0]
	for n, l := range g.layers {
		if !used[n] {
			continue
		}
		if place[n] = int32(len(kept)); l.parent >= 0 {
			l.parent = place[l.parent]
		}
		kept = append(kept, l)
	}
	g.layers = kept
	for _, r := range g.records {
		for i := range r.results {
			r.results[i].top = place[r.results[i].top]
		}
	}
}

// Encode writes the config of a graph: equal graphs are equal bytes. Blobs are the layers
// that go with it, each once, in the order of their digests.
func (g *Graph) Encode() (config []byte, blobs []ocispec.Descriptor, err error) {
	dt, err := json.Marshal(ownConfig{CacheConfig: g.config(), Mounts: g.configMounts()})
	if err != nil {
		return nil, nil, err
	}
	byDigest := map[string]ocispec.Descriptor{}
	for _, l := range g.layers {
		if !l.gone {
			byDigest[l.desc.Digest.String()] = l.desc
		}
	}
	for _, m := range g.mounts {
		byDigest[m.Layer.Digest.String()] = m.Layer
	}
	for _, dgst := range slices.Sorted(maps.Keys(byDigest)) {
		blobs = append(blobs, byDigest[dgst])
	}
	return dt, blobs, nil
}

func (g *Graph) config() types.CacheConfig {
	layers, layerAt := ordered(len(g.layers), func(a, b int32) int {
		return cmp.Or(cmp.Compare(g.layers[a].desc.Digest, g.layers[b].desc.Digest), cmp.Compare(g.layers[a].id, g.layers[b].id))
	})
	records, recordAt := g.orderedRecords()
	var c types.CacheConfig
	for _, n := range layers {
		l := g.layers[n]
		parent := -1
		if l.parent >= 0 {
			parent = int(layerAt[l.parent])
		}
		c.Layers = append(c.Layers, types.CacheLayer{Blob: l.desc.Digest, ParentIndex: parent})
	}
	for _, n := range records {
		c.Records = append(c.Records, g.configRecord(g.records[n], recordAt, layerAt))
	}
	return c
}

func (g *Graph) orderedRecords() (order, place []int32) {
	return ordered(len(g.records), func(a, b int32) int {
		return cmp.Or(cmp.Compare(g.records[a].digest, g.records[b].digest), cmp.Compare(g.records[a].id, g.records[b].id))
	})
}

func (g *Graph) configRecord(r record, recordAt, layerAt []int32) types.CacheRecord {
	out := types.CacheRecord{Digest: r.digest}
	for _, alternatives := range r.inputs {
		var in []types.CacheInput
		for _, l := range alternatives {
			in = append(in, types.CacheInput{Selector: l.selector, LinkIndex: int(recordAt[l.from])})
		}
		out.Inputs = append(out.Inputs, in)
	}
	for _, res := range r.results {
		if res.top >= 0 {
			out.Results = append(out.Results, types.CacheResult{LayerIndex: int(layerAt[res.top]), CreatedAt: res.createdAt.UTC()})
			continue
		}
		chain := types.ChainedResult{CreatedAt: res.createdAt.UTC()}
		for _, n := range res.list {
			chain.LayerIndexes = append(chain.LayerIndexes, int(layerAt[n]))
		}
		out.ChainedResults = append(out.ChainedResults, chain)
	}
	return out
}

// ordered are the numbers from 0 to n in order, and the place of each.
func ordered(n int, compare func(a, b int32) int) (order, place []int32) {
	order, place = make([]int32, n), make([]int32, n)
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, compare)
	for i, o := range order {
		place[o] = int32(i)
	}
	return order, place
}
