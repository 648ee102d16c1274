package remotecache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/solver"
)

func dg(s string) digest.Digest { return digest.FromString(s) }

// described are layers of a manifest, by what their digests are of.
func described(names ...string) []ocispec.Descriptor {
	var out []ocispec.Descriptor
	for _, n := range names {
		out = append(out, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageLayerGzip, Digest: dg(n), Size: int64(len(n)),
			Annotations: map[string]string{annotationDiffID: dg("plain " + n).String()},
		})
	}
	return out
}

// What is wrong with a config is an error that says where.
func TestDecodeBad(t *testing.T) {
	d := dg("x").String()
	for config, want := range map[string]string{
		`{`:  "the cache's config: unexpected end",
		`[]`: "the cache's config: json",
		`{"layers":[{"blob":"md5:00","parent":-1}]}`:                                                           `layer 0 of the cache's config: its digest "md5:00"`,
		`{"layers":[{"blob":"` + d + `","parent":1}]}`:                                                         "layer 0 of the cache's config: it is on top of layer 1, which is not there",
		`{"layers":[{"blob":"` + d + `","parent":-2}]}`:                                                        "it is on top of layer -2",
		`{"layers":[{"blob":"` + d + `","parent":0}]}`:                                                         "layer 0 of the cache's config is on top of itself",
		`{"layers":[{"blob":"` + d + `","parent":1},{"blob":"` + d + `","parent":0}]}`:                         "is on top of itself",
		`{"records":[{"digest":"no"}]}`:                                                                        `record 0 of the cache's config: its digest "no"`,
		`{"records":[{"digest":"` + d + `","inputs":[[]]}]}`:                                                   "record 0 of the cache's config: there is nothing for input 0",
		`{"records":[{"digest":"` + d + `","inputs":[[{"link":1}]]}]}`:                                         "its input 0 can be record 1, which is not there",
		`{"records":[{"digest":"` + d + `","inputs":[[{"link":-1}]]}]}`:                                        "its input 0 can be record -1",
		`{"records":[{"digest":"` + d + `","inputs":[[{"link":0}]]}]}`:                                         "are inputs of themselves",
		`{"records":[{"digest":"` + d + `","layers":[{"layer":0}]}]}`:                                          "its result is layer 0, which is not there",
		`{"records":[{"digest":"` + d + `","layers":[{"layer":-1}]}]}`:                                         "its result is layer -1",
		`{"records":[{"digest":"` + d + `","chains":[{"layers":[7]}]}]}`:                                       "its result has layer 7",
		`{"layers":[{"blob":"` + d + `","parent":-1,"annotations":{"size":-1,"diffID":"x"}}]}`:                 "its size is -1",
		strings.Repeat(" ", maxConfig+1):                                                                       "at most 8388608 are read",
		`{"records":[` + strings.Repeat(`{},`, maxParts/2) + `{}]}`:                                            "consists of 1048579 parts, and at most 1048576 are read",
		`{"records":[` + strings.Repeat(`null,`, maxParts) + `null]}`:                                          "parts, and at most 1048576 are read",
		`{"records":[{"digest":"` + d + `","chains":[{"layers":[` + strings.Repeat(`0,`, maxChain) + `0]}]}]}`: "its result has 100001 layers, and at most 100000 are read",
	} {
		_, err := Decode([]byte(config), nil)
		check.Says(t, err, want)
	}
}

// A result of which a layer is not described is left out, and the rest stays. Records of
// what is never the same lead nowhere, and so does what stands on them alone.
func TestDecodeLeavesOut(t *testing.T) {
	config := fmt.Sprintf(`{"layers":[{"blob":%q,"parent":-1},{"blob":%q,"parent":0},{"blob":%q,"parent":0}],
		"records":[
			{"digest":%q,"layers":[{"layer":1},{"layer":2}],"inputs":[[{"link":1},{"link":2}]]},
			{"digest":%q},
			{"digest":"random:1"},
			{"digest":%q,"inputs":[[{"link":2}]],"layers":[{"layer":1}]},
			{"digest":%q}
		]}`, dg("a"), dg("b"), dg("gone"), dg("top"), dg("root"), dg("over random"), dg("root"))
	g, err := Decode([]byte(config), described("a", "b"))
	check.OK(t, err)
	check.Equal(t, "records", len(g.records), 2)
	top := g.records[g.byID[g.records[1].id]]
	check.Equal(t, "results", len(top.results), 1)
	check.Equal(t, "links", len(top.inputs[0]), 1)
	stack := g.stack(top.results[0])
	check.Equal(t, "layers", len(stack), 2)
	check.Equal(t, "the lowest", stack[0].Digest, dg("a"))
}

// collected is a chain over a root of n operations, each with a layer of its own.
func collected(n int) (*Collector, []ocispec.Descriptor, [][]int32) {
	c := NewCollector()
	below := c.Add(recordDigest(dg("root"), 0))
	var names []string
	stacks := [][]int32{nil}
	for i := range n {
		r := c.Add(recordDigest(dg(fmt.Sprint(i)), 0))
		r.LinkFrom(below, 0, "")
		r.AddResult(time.Unix(int64(i), 0), &solver.Remote{})
		names = append(names, fmt.Sprint("layer ", i))
		stack := append([]int32(nil), stacks[i]...)
		stacks = append(stacks, append(stack, int32(i)))
		below = r
	}
	return c, described(names...), stacks
}

// graphFor makes a graph of nodes whose results have these layers.
func graphFor(c *Collector, layers []ocispec.Descriptor, stacks [][]int32) *Graph {
	l := newLayerList(nil)
	for _, d := range layers {
		l.add(d, nil)
	}
	return graphOf(c.nodes, l, func(n *node) []stackAt {
		if stacks[n.n] == nil {
			return nil
		}
		top := none
		for _, layer := range stacks[n.n] {
			top = l.on(top, layer)
		}
		return []stackAt{{top, n.results[0].createdAt}}
	})
}

// What is written is read as the same, in the same bytes, whatever order it came in.
func TestEncode(t *testing.T) {
	c, layers, stacks := collected(20)
	dt, blobs, err := graphFor(c, layers, stacks).Encode()
	check.OK(t, err)
	check.Equal(t, "blobs", len(blobs), 20)
	g, err := Decode(dt, blobs)
	check.OK(t, err)
	check.Equal(t, "records", len(g.records), 21)
	again, _, err := g.Encode()
	check.OK(t, err)
	check.Equal(t, "the same bytes", bytes.Equal(dt, again), true)
}

// Links in a circle are left out, and what can be reached without them stays.
func TestCollectCycle(t *testing.T) {
	for _, first := range []string{"a", "b"} {
		c := NewCollector()
		root := c.Add(dg("root"))
		byName := map[string]solver.CacheExporterRecord{}
		order := []string{first, map[string]string{"a": "b", "b": "a"}[first]}
		for _, n := range order {
			byName[n] = c.Add(dg(n))
		}
		stray := c.Add(dg("stray"))
		stray.LinkFrom(stray, 0, "")
		byName["a"].LinkFrom(byName["b"], 0, "")
		byName["b"].LinkFrom(byName["a"], 0, "")
		byName["a"].LinkFrom(root, 0, "sel")
		stacks := make([][]int32, 4)
		for _, n := range byName {
			n.AddResult(time.Unix(1, 0), &solver.Remote{})
			stacks[n.(*node).n] = []int32{0}
		}
		stacks[stray.(*node).n] = []int32{0}
		stray.AddResult(time.Unix(1, 0), &solver.Remote{})
		g := graphFor(c, described("l"), stacks)
		check.Equal(t, "records of "+first, len(g.records), 3)
		dt, blobs, err := g.Encode()
		check.OK(t, err)
		_, err = Decode(dt, blobs)
		check.OK(t, err)
	}
}

// A key is found by what it was made of, however long its chain is, and by no other.
func TestFind(t *testing.T) {
	c, layers, stacks := collected(3)
	f := newFinder(graphFor(c, layers, stacks))
	key := func(k *solver.CacheKey) []solver.CacheKeyWithSelector {
		return []solver.CacheKeyWithSelector{{CacheKey: solver.ExportableCacheKey{CacheKey: k}}}
	}
	root := solver.NewCacheKey(dg("root"), 0)
	check.Equal(t, "root", len(f.query(nil, 0, dg("root"), 0)), 1)
	check.Equal(t, "other output", len(f.query(nil, 0, dg("root"), 1)), 0)
	at := root
	for i := range 3 {
		got := f.query(key(at), 0, dg(fmt.Sprint(i)), 0)
		check.Equal(t, "found", len(got), 1)
		check.Equal(t, "by another input", len(f.query(key(at), 1, dg(fmt.Sprint(i)), 0)), 0)
		at = solver.NewCacheKey(dg(fmt.Sprint(i)), 0)
		at.ID = f.graph.records[got[0]].id
	}
}

func FuzzDecode(f *testing.F) {
	c, layers, stacks := collected(4)
	dt, _, err := graphFor(c, layers, stacks).Encode()
	check.OK(f, err)
	f.Add(dt)
	f.Add([]byte(`{"layers":[{"blob":"sha256:00","parent":0}],"records":[{"chains":[{"layers":[0]}],"inputs":[[{"link":0}]]}]}`))
	f.Fuzz(func(t *testing.T, dt []byte) {
		g, err := Decode(dt, layers)
		if err != nil {
			return
		}
		for _, r := range g.records {
			for _, res := range r.results {
				g.stack(res)
			}
		}
		out, blobs, err := g.Encode()
		check.OK(t, err)
		again, err := Decode(out, append(layers, blobs...))
		check.OK(t, err)
		second, _, err := again.Encode()
		check.OK(t, err)
		check.Equal(t, "records", len(again.records), len(g.records))
		check.Equal(t, "stable", string(second), string(out))
		_, err = Inline(g, nil, nil)
		check.OK(t, err)
	})
}

// An inline cache names the layers of the image, in any form, and no others.
func TestInline(t *testing.T) {
	c, layers, stacks := collected(3)
	g := graphFor(c, layers, stacks)
	dt, err := Inline(g, []digest.Digest{dg("layer 0"), dg("another blob")}, []digest.Digest{dg("plain layer 0"), dg("plain layer 1")})
	check.OK(t, err)
	var records []struct {
		Layers []struct{ Layer int } `json:"layers"`
	}
	check.OK(t, json.Unmarshal(dt, &records))
	check.Equal(t, "records", len(records), 3)
	tops := map[int]int{}
	for _, r := range records {
		for _, l := range r.Layers {
			tops[l.Layer]++
		}
	}
	check.Equal(t, "tops", fmt.Sprint(tops), "map[0:1 1:1]")
	dt, err = Inline(g, nil, nil)
	check.OK(t, err)
	check.Equal(t, "nothing of it", len(dt), 0)
}

// What BuildKit cannot read is known before it is written.
func TestTooLarge(t *testing.T) {
	check.Equal(t, "small", (&document{config: make([]byte, maxOthers), manifest: make([]byte, maxOthers)}).tooLarge(), "")
	for _, d := range []*document{{config: make([]byte, maxOthers+1)}, {manifest: make([]byte, maxOthers+1)}} {
		check.Says(t, errors.New(d.tooLarge()), "1048577 bytes", "at most 1048576")
	}
}
