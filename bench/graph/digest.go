package graph

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/opencontainers/go-digest"
)

const (
	prefix    = "sha256:"
	digestLen = len(prefix) + 2*sha256.Size
)

// Digests is a list of digests that costs two objects, however long it is, so
// that a graph in memory is next to nothing to a garbage collector.
type Digests struct {
	text string
	raw  [][sha256.Size]byte
}

// At is the digest of vertex v, as solvers want it.
func (d Digests) At(v int) digest.Digest {
	return digest.Digest(d.text[v*digestLen : (v+1)*digestLen])
}

// Raw is the digest of vertex v in 32 bytes.
func (d Digests) Raw(v int) *[sha256.Size]byte { return &d.raw[v] }

func newDigests(raw [][sha256.Size]byte) Digests {
	text := make([]byte, 0, len(raw)*digestLen)
	for i := range raw {
		text = append(text, prefix...)
		text = hex.AppendEncode(text, raw[i][:])
	}
	return Digests{text: string(text), raw: raw}
}

// with returns the list with one digest replaced.
func (d Digests) with(v int, dgst digest.Digest) Digests {
	raw := append([][sha256.Size]byte(nil), d.raw...)
	if _, err := hex.Decode(raw[v][:], []byte(dgst.Encoded())); err != nil {
		panic("graph: not a SHA-256: " + string(dgst))
	}
	return newDigests(raw)
}

// number fills in the digests that depend on a vertex's number alone.
func (g *Graph) number(seed uint64) {
	list := func(what byte) Digests {
		raw := make([][sha256.Size]byte, g.Len())
		var buf [17]byte
		buf[0] = what
		binary.LittleEndian.PutUint64(buf[1:], seed)
		for v := range raw {
			binary.LittleEndian.PutUint64(buf[9:], uint64(v))
			raw[v] = sha256.Sum256(buf[:])
		}
		return newDigests(raw)
	}
	g.Ops, g.Contents = list('o'), list('c')
}

// define computes the definitions' digests from the operations and the inputs.
func (g *Graph) define(salt string) {
	raw := make([][sha256.Size]byte, g.Len())
	var buf []byte
	for v := range raw {
		buf = append(buf[:0], salt...)
		buf = append(buf, g.Ops.raw[v][:]...)
		for _, in := range g.Inputs(v) {
			buf = append(buf, raw[in][:]...)
		}
		raw[v] = sha256.Sum256(buf)
	}
	g.Definitions = newDigests(raw)
}
