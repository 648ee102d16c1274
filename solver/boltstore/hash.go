package boltstore

import (
	"math/bits"

	"github.com/tenonbuild/tenon/solver"
)

// hasher computes the 64-bit hashes that keys of the file begin with. The seed
// is the file's own, so that nobody can prepare names that collide. Two names
// of one hash cost a comparison and are never mixed up.
type hasher struct {
	seed uint64
	// mask is all ones. Tests take bits away to make hashes collide.
	mask uint64
}

const (
	mixer1 = 0x9e3779b97f4a7c15
	mixer2 = 0xd6e8feb86659fd93
)

// fold multiplies and folds the 128-bit product.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func (h hasher) raw(s string) uint64 {
	x := h.seed ^ uint64(len(s))*mixer1
	for ; len(s) >= 8; s = s[8:] {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		x = fold(x^w, mixer2) + h.seed
	}
	var tail uint64
	for i := range len(s) {
		tail |= uint64(s[i]) << (8 * i)
	}
	x = fold(x^tail, mixer1) + h.seed
	return fold(x^mixer2, mixer1)
}

// name hashes the ID of a node or of a result.
func (h hasher) name(s string) uint64 { return h.raw(s) & h.mask }

// link hashes everything a link says of itself.
func (h hasher) link(l solver.CacheInfoLink) uint64 {
	x := h.raw(string(l.Digest))
	if l.Selector != "" {
		x = fold(x^h.raw(string(l.Selector)), mixer2)
	}
	x = fold(x^uint64(l.Input)<<32^uint64(l.Output), mixer1) + h.seed
	return fold(x, mixer2) & h.mask
}

// filter answers for most hashes that no node of that hash was ever added. It
// never forgets, so that a released node costs a look-up until the next Open.
type filter struct {
	// parts double in size. The last one takes additions until it is full.
	parts []filterPart
}

type filterPart struct {
	bits []uint64
	// room is how many more hashes the part may take.
	room int
}

// filterBits is how many bits there are for a hash, filterProbes how many of
// them are set: 0.5 % of unknown hashes are taken for known.
const (
	filterBits   = 12
	filterProbes = 6
)

// newFilter returns a filter with room for n hashes before it has to grow.
func newFilter(n int) filter {
	var f filter
	f.grow(n)
	return f
}

func (f *filter) grow(n int) {
	n = max(n, 1<<13)
	words := 1 << bits.Len(uint(n*filterBits-1)/64)
	f.parts = append(f.parts, filterPart{bits: make([]uint64, words), room: words * 64 / filterBits})
}

func (p *filterPart) has(h uint64) bool {
	step := h>>32 | 1
	for range filterProbes {
		if p.bits[(h>>6)&uint64(len(p.bits)-1)]&(1<<(h&63)) == 0 {
			return false
		}
		h += step * mixer1
	}
	return true
}

func (p *filterPart) add(h uint64) {
	step := h>>32 | 1
	for range filterProbes {
		p.bits[(h>>6)&uint64(len(p.bits)-1)] |= 1 << (h & 63)
		h += step * mixer1
	}
	p.room--
}

func (f *filter) has(h uint64) bool {
	for i := len(f.parts) - 1; i >= 0; i-- {
		if f.parts[i].has(h) {
			return true
		}
	}
	return false
}

// add adds a hash and reports whether it was certainly new.
func (f *filter) add(h uint64) bool {
	if f.has(h) {
		return false
	}
	last := &f.parts[len(f.parts)-1]
	if last.room == 0 {
		f.grow(2 * len(last.bits) * 64 / filterBits)
		last = &f.parts[len(f.parts)-1]
	}
	last.add(h)
	return true
}
