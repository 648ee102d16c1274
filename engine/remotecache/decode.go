package remotecache

import (
	"errors"
	"fmt"
	"strings"

	types "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxConfig bounds what is read of a cache before its layers, in bytes. What is made of it
// in memory is a multiple of its size.
const maxConfig = 8 << 20

// maxChain bounds the layers of a result that are listed one by one, where a few bytes have
// the same layer once more.
const maxChain = 100_000

// Decode reads the config of a cache, whose layers are described beside it. A result of
// which a layer is not described is left out.
func Decode(config []byte, described []ocispec.Descriptor) (*Graph, error) {
	if len(config) > maxConfig {
		return nil, fmt.Errorf("the cache's config has %d bytes, and at most %d are read", len(config), maxConfig)
	}
	var c ownConfig
	if err := unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("the cache's config: %w", err)
	}
	g, err := fromConfig(c.CacheConfig, described)
	if err != nil {
		return nil, err
	}
	return g, g.addMounts(c.Mounts)
}

func fromConfig(c types.CacheConfig, described []ocispec.Descriptor) (*Graph, error) {
	byDigest := make(map[digest.Digest]ocispec.Descriptor, len(described))
	for _, d := range described {
		byDigest[d.Digest] = d
	}
	g := &Graph{}
	if err := g.addLayers(c.Layers, byDigest); err != nil {
		return nil, err
	}
	if err := g.addRecords(c.Records); err != nil {
		return nil, err
	}
	g.index()
	return g, nil
}

func (g *Graph) addLayers(in []types.CacheLayer, described map[digest.Digest]ocispec.Descriptor) error {
	g.layers = make([]layer, len(in))
	for n, l := range in {
		bad := func(why string, args ...any) error {
			return fmt.Errorf("layer %d of the cache's config: %s", n, fmt.Sprintf(why, args...))
		}
		if err := l.Blob.Validate(); err != nil {
			return bad("its digest %q: %v", l.Blob, err)
		}
		if l.ParentIndex < -1 || l.ParentIndex >= len(in) {
			return bad("it is on top of layer %d, which is not there", l.ParentIndex)
		}
		desc, ok := described[l.Blob]
		if !ok {
			desc, ok = annotated(l)
		}
		if desc.Size < 0 {
			return bad("its size is %d", desc.Size)
		}
		g.layers[n] = layer{desc: desc, gone: !ok, parent: int32(l.ParentIndex), depth: -1}
	}
	return g.measure()
}

// annotated is the descriptor of a layer in a config that has them itself, and whether it does.
func annotated(l types.CacheLayer) (ocispec.Descriptor, bool) {
	a := l.Annotations
	if a == nil || a.DiffID == "" {
		return ocispec.Descriptor{Digest: l.Blob}, false
	}
	return ocispec.Descriptor{
		MediaType: a.MediaType, Digest: l.Blob, Size: a.Size,
		Annotations: layerAnnotations(a.DiffID, &a.CreatedAt),
	}, true
}

// measure tells how many layers each is, and which of them are there.
func (g *Graph) measure() error {
	const open = -2
	var path []int32
	for n := range g.layers {
		path = path[:0]
		at := int32(n)
		for ; at >= 0 && g.layers[at].depth == -1; at = g.layers[at].parent {
			g.layers[at].depth = open
			path = append(path, at)
		}
		if at >= 0 && g.layers[at].depth == open {
			return fmt.Errorf("layer %d of the cache's config is on top of itself", at)
		}
		for i := len(path) - 1; i >= 0; i-- {
			l := &g.layers[path[i]]
			below := layer{depth: 0}
			if l.parent >= 0 {
				below = g.layers[l.parent]
			}
			l.id = hashAll(below.id, l.desc.Digest.String())
			if l.depth = 0; !l.gone && (l.parent < 0 || below.depth > 0) {
				l.depth = below.depth + 1
			}
		}
	}
	return nil
}

// addRecords puts records after those of their inputs.
func (g *Graph) addRecords(in []types.CacheRecord) error {
	left := make([]int, len(in)) // links to records that are not added yet
	users := make([][]int32, len(in))
	var ready []int32
	for n, r := range in {
		if err := checkRecord(r, len(in)); err != nil {
			return fmt.Errorf("record %d of the cache's config: %w", n, err)
		}
		for _, alternatives := range r.Inputs {
			for _, l := range alternatives {
				users[l.LinkIndex] = append(users[l.LinkIndex], int32(n))
				left[n]++
			}
		}
		if left[n] == 0 {
			ready = append(ready, int32(n))
		}
	}
	place := make([]int32, len(in)) // in g.records; -1: it can lead nowhere
	known := make(map[string]int32, len(in))
	added := 0
	for ; len(ready) > 0; added++ {
		n := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		var err error
		if place[n], err = g.addRecord(in[n], place, known); err != nil {
			return fmt.Errorf("record %d of the cache's config: %w", n, err)
		}
		for _, user := range users[n] {
			if left[user]--; left[user] == 0 {
				ready = append(ready, user)
			}
		}
	}
	if added < len(in) {
		return errors.New("records of the cache's config are inputs of themselves")
	}
	return nil
}

// randomPrefix marks digests of what is never the same again.
const randomPrefix = "random:"

func checkRecord(r types.CacheRecord, records int) error {
	if err := r.Digest.Validate(); err != nil && !strings.HasPrefix(r.Digest.String(), randomPrefix) {
		return fmt.Errorf("its digest %q: %w", r.Digest, err)
	}
	for i, alternatives := range r.Inputs {
		if len(alternatives) == 0 {
			return fmt.Errorf("there is nothing for input %d", i)
		}
		for _, l := range alternatives {
			if l.LinkIndex < 0 || l.LinkIndex >= records {
				return fmt.Errorf("its input %d can be record %d, which is not there", i, l.LinkIndex)
			}
		}
	}
	return nil
}

// addRecord adds one whose inputs have been added. One that means the same as another is
// that other.
func (g *Graph) addRecord(in types.CacheRecord, place []int32, known map[string]int32) (int32, error) {
	r := record{digest: in.Digest}
	if strings.HasPrefix(r.digest.String(), randomPrefix) {
		return -1, nil
	}
	for _, alternatives := range in.Inputs {
		var links []link
		for _, l := range alternatives {
			if from := place[l.LinkIndex]; from >= 0 {
				links = append(links, link{from, l.Selector})
			}
		}
		if len(links) == 0 {
			return -1, nil
		}
		r.inputs = append(r.inputs, links)
	}
	r.identify(func(n int32) string { return g.records[n].id })
	results, err := g.resultsOf(in)
	if err != nil {
		return 0, err
	}
	if n, ok := known[r.id]; ok {
		g.records[n].results = append(g.records[n].results, results...)
		return n, nil
	}
	r.results = results
	n := int32(len(g.records))
	known[r.id] = n
	g.records = append(g.records, r)
	return n, nil
}

func (g *Graph) resultsOf(in types.CacheRecord) ([]result, error) {
	var out []result
	for _, r := range in.Results {
		if r.LayerIndex < 0 || r.LayerIndex >= len(g.layers) {
			return nil, fmt.Errorf("its result is layer %d, which is not there", r.LayerIndex)
		}
		if l := g.layers[r.LayerIndex]; l.depth > 0 {
			out = append(out, result{id: l.id, top: int32(r.LayerIndex), createdAt: r.CreatedAt})
		}
	}
	for _, r := range in.ChainedResults {
		if len(r.LayerIndexes) > maxChain {
			return nil, fmt.Errorf("its result has %d layers, and at most %d are read", len(r.LayerIndexes), maxChain)
		}
		list, id, whole := make([]int32, len(r.LayerIndexes)), "", true
		for i, n := range r.LayerIndexes {
			if n < 0 || n >= len(g.layers) {
				return nil, fmt.Errorf("its result has layer %d, which is not there", n)
			}
			list[i] = int32(n)
			id = hashAll(id, g.layers[n].desc.Digest.String())
			whole = whole && !g.layers[n].gone
		}
		if whole && len(list) > 0 {
			out = append(out, result{id: id, top: -1, list: list, createdAt: r.CreatedAt})
		}
	}
	return out, nil
}
