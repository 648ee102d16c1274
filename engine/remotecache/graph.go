package remotecache

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Graph is the records of a cache, checked: links and layers exist, and neither
// records nor layers go round in a circle. It is immutable.
type Graph struct {
	// records come after those of their inputs. No two have the same ID.
	records []record
	layers  []layer
	mounts  []Mount

	byID  map[string]int32
	roots map[digest.Digest]int32
	// above has the records of an operation that an input's record leads to.
	above map[step][]int32
}

// record is a key of the cache with the results that it leads to.
type record struct {
	// id follows from what the record means. That of a record without inputs is its digest.
	id string
	// digest names the operation and its output.
	digest digest.Digest
	// inputs are the alternatives for each input.
	inputs  [][]link
	results []result
}

// link says that an input can be the record from, seen through selector.
type link struct {
	from     int32
	selector string
}

// step is a link with where it leads.
type step struct {
	link
	input int
	to    digest.Digest
}

// result is a stack of layers: top with all that is below it, or list as it is.
type result struct {
	id        string
	top       int32 // -1: list
	list      []int32
	createdAt time.Time
}

// layer is a blob on top of another.
type layer struct {
	desc   ocispec.Descriptor
	gone   bool  // it is not described: there is no more of desc than the digest
	parent int32 // -1: none
	depth  int32 // with itself; 0: one of them is missing
	id     string
}

// stack returns the descriptors of a result, the lowest first.
func (g *Graph) stack(r result) []ocispec.Descriptor {
	var out []ocispec.Descriptor
	if r.top < 0 {
		for _, n := range r.list {
			out = append(out, g.layers[n].desc)
		}
		return out
	}
	for n := r.top; n >= 0; n = g.layers[n].parent {
		out = append(out, g.layers[n].desc)
	}
	slices.Reverse(out)
	return out
}

// index fills the maps. The records are complete.
func (g *Graph) index() {
	g.byID = make(map[string]int32, len(g.records))
	g.roots = map[digest.Digest]int32{}
	g.above = map[step][]int32{}
	for n := range g.records {
		r, n := &g.records[n], int32(n)
		g.byID[r.id] = n
		if len(r.inputs) == 0 {
			g.roots[r.digest] = n
		}
		for i, alternatives := range r.inputs {
			for _, l := range alternatives {
				s := step{link: l, input: i, to: r.digest}
				if have := g.above[s]; len(have) == 0 || have[len(have)-1] != n {
					g.above[s] = append(have, n)
				}
			}
		}
	}
}

// identify gives a record its ID. Those of its inputs have theirs; it sorts the links,
// and leaves out those that are there twice.
func (r *record) identify(id func(int32) string) {
	if len(r.inputs) == 0 {
		r.id = r.digest.String()
		return
	}
	for i, alternatives := range r.inputs {
		slices.SortFunc(alternatives, func(a, b link) int {
			if c := strings.Compare(id(a.from), id(b.from)); c != 0 {
				return c
			}
			return strings.Compare(a.selector, b.selector)
		})
		r.inputs[i] = slices.Compact(alternatives)
	}
	h := sha256.New()
	var room []byte
	put := func(s string) { room = append(binary.LittleEndian.AppendUint32(room, uint32(len(s))), s...) }
	put(r.digest.String())
	for _, alternatives := range r.inputs {
		room = binary.LittleEndian.AppendUint32(room, uint32(len(alternatives)))
		for _, l := range alternatives {
			put(id(l.from))
			put(l.selector)
		}
		h.Write(room)
		room = room[:0]
	}
	r.id = "remote:" + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// hashAll is a name for a list of others.
func hashAll(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(p))))
		h.Write([]byte(p))
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
