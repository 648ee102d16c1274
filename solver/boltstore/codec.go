package boltstore

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
)

// How a string is packed. Each string has exactly one packed form, which tells
// where it ends, so that packed strings can be compared as bytes.
const (
	// packRaw: a uvarint of 4 × length, then the bytes.
	packRaw = 0
	// packSHA256: the byte 1, then the 32 bytes of "sha256:" and lower-case hex.
	packSHA256 = 1
	// packBase64: the byte 2, then the 32 bytes of 43 characters of unpadded
	// URL-safe base64.
	packBase64 = 2

	sha256Prefix = "sha256:"
	packedLen    = 32
)

var strictBase64 = base64.RawURLEncoding.Strict()

var errFormat = errors.New("not in the format of a record")

func appendString(b []byte, s string) []byte {
	switch {
	case len(s) == 71 && s[:7] == sha256Prefix:
		if packed, ok := appendHex(b, s[7:]); ok {
			return packed
		}
	case len(s) == 43:
		if packed, ok := appendBase64(b, s); ok {
			return packed
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s))<<2|packRaw)
	return append(b, s...)
}

func appendHex(b []byte, s string) ([]byte, bool) {
	var out [packedLen]byte
	for i := range out {
		hi, lo := unhex(s[2*i]), unhex(s[2*i+1])
		if hi > 15 || lo > 15 {
			return b, false
		}
		out[i] = hi<<4 | lo
	}
	return append(append(b, packSHA256), out[:]...), true
}

// unhex returns the value of a lower-case hex digit, or more than 15.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

func appendBase64(b []byte, s string) ([]byte, bool) {
	var in [43]byte
	copy(in[:], s)
	var out [packedLen + 1]byte
	if n, err := strictBase64.Decode(out[:], in[:]); n != packedLen || err != nil {
		return b, false
	}
	return append(append(b, packBase64), out[:packedLen]...), true
}

// reader takes a value apart. After the first fault it returns zeros, and bad
// is true.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() {
	r.bad = true
	r.b = nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// packed returns the next string as it is packed.
func (r *reader) packed() []byte {
	if len(r.b) == 0 {
		r.fail()
		return nil
	}
	head, size := 1, uint64(packedLen)
	switch r.b[0] & 3 {
	case packSHA256, packBase64:
		if r.b[0] > packBase64 {
			r.fail()
			return nil
		}
	case packRaw:
		v, n := binary.Uvarint(r.b)
		if n <= 0 || v&3 != packRaw {
			r.fail()
			return nil
		}
		head, size = n, v>>2
	default:
		r.fail()
		return nil
	}
	if size > uint64(len(r.b)-head) {
		r.fail()
		return nil
	}
	p := r.b[:head+int(size)]
	r.b = r.b[len(p):]
	return p
}

func (r *reader) string() string { return unpack(r.packed()) }

// unpack returns the string of a packed form that reader.packed has returned.
func unpack(p []byte) string {
	if len(p) == 0 {
		return ""
	}
	switch p[0] {
	case packSHA256:
		var out [71]byte
		copy(out[:], sha256Prefix)
		hex.Encode(out[7:], p[1:])
		return string(out[:])
	case packBase64:
		var out [43]byte
		base64.RawURLEncoding.Encode(out[:], p[1:])
		return string(out[:])
	}
	_, n := binary.Uvarint(p)
	return string(p[n:])
}

func appendResult(b []byte, res solver.CacheResult) []byte {
	b = appendString(b, res.ID)
	b = binary.AppendVarint(b, res.CreatedAt.Unix())
	return binary.AppendUvarint(b, uint64(res.CreatedAt.Nanosecond()))
}

func (r *reader) result() solver.CacheResult {
	id := r.string()
	sec, nsec := r.varint(), r.uvarint()
	if nsec >= uint64(time.Second) {
		r.fail()
		return solver.CacheResult{}
	}
	return solver.CacheResult{ID: id, CreatedAt: time.Unix(sec, int64(nsec)).UTC()}
}

func appendLink(b []byte, l solver.CacheInfoLink) []byte {
	b = binary.AppendVarint(b, int64(l.Input))
	b = binary.AppendVarint(b, int64(l.Output))
	b = appendString(b, string(l.Digest))
	return appendString(b, string(l.Selector))
}

// packedLink returns the next link as it is packed.
func (r *reader) packedLink() []byte {
	start := r.b
	in, out := r.varint(), r.varint()
	r.packed()
	r.packed()
	if in < math.MinInt || in > math.MaxInt || out < math.MinInt || out > math.MaxInt {
		r.fail()
	}
	if r.bad {
		return nil
	}
	return start[:len(start)-len(r.b)]
}

func (r *reader) link() solver.CacheInfoLink {
	in, out := r.varint(), r.varint()
	return solver.CacheInfoLink{
		Input:    solver.Index(in),
		Output:   solver.Index(out),
		Digest:   digest.Digest(r.string()),
		Selector: digest.Digest(r.string()),
	}
}

func unpackLink(p []byte) solver.CacheInfoLink {
	r := reader{b: p}
	return r.link()
}

// backlink is a link to a node: from the node of a number.
type backlink struct {
	src uint64
	// link is packed.
	link []byte
}

// record is what the file says of a node. A few results and backlinks are in
// the node's own record, the others under keys of their own.
type record struct {
	// id is packed.
	id        []byte
	results   []solver.CacheResult
	backlinks []backlink
	// moreResults and moreBacklinks say that there may be others. They stay set
	// when the others have gone.
	moreResults, moreBacklinks bool
}

const (
	inlineResults   = 4
	inlineBacklinks = 4
)

func appendCount(b []byte, n int, more bool) []byte {
	v := uint64(n) << 1
	if more {
		v |= 1
	}
	return binary.AppendUvarint(b, v)
}

// count reads how many inline elements follow. Each takes two bytes at least.
func (r *reader) count() (n int, more bool) {
	v := r.uvarint()
	if v>>1 > uint64(len(r.b)) {
		r.fail()
		return 0, false
	}
	return int(v >> 1), v&1 != 0
}

func (rec *record) append(b []byte) []byte {
	b = append(b, rec.id...)
	b = appendCount(b, len(rec.results), rec.moreResults)
	for _, res := range rec.results {
		b = appendResult(b, res)
	}
	b = appendCount(b, len(rec.backlinks), rec.moreBacklinks)
	for _, bl := range rec.backlinks {
		b = binary.AppendUvarint(b, bl.src)
		b = append(b, bl.link...)
	}
	return b
}

// decodeRecord takes a record apart. It aliases b.
func decodeRecord(b []byte) (*record, error) {
	r := reader{b: b}
	rec := &record{id: r.packed()}
	var n int
	n, rec.moreResults = r.count()
	for range n {
		rec.results = append(rec.results, r.result())
	}
	n, rec.moreBacklinks = r.count()
	for range n {
		rec.backlinks = append(rec.backlinks, backlink{src: r.uvarint(), link: r.packedLink()})
	}
	if r.bad || len(r.b) != 0 {
		return nil, errFormat
	}
	return rec, nil
}

// skipResults moves on to a record's backlinks.
func (r *reader) skipResults() {
	n, _ := r.count()
	for range n {
		r.packed()
		r.varint()
		r.uvarint()
	}
}

// A list of packed links, or of results, is the value of a key that ends in
// their hash: nearly always there is one.

func decodeLinks(b []byte) ([][]byte, error) {
	var out [][]byte
	r := reader{b: b}
	for len(r.b) > 0 {
		out = append(out, r.packedLink())
	}
	if r.bad || len(out) == 0 {
		return nil, errFormat
	}
	return out, nil
}

func decodeResults(b []byte) ([]solver.CacheResult, error) {
	var out []solver.CacheResult
	r := reader{b: b}
	for len(r.b) > 0 {
		out = append(out, r.result())
	}
	if r.bad || len(out) == 0 {
		return nil, errFormat
	}
	return out, nil
}

// appendNum appends a node's number to a key: its length in bytes, and the
// bytes, big end first. Keys sort as the numbers do.
func appendNum(b []byte, n uint64) []byte {
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], n)
	trim := bytes.TrimLeft(buf[:], "\x00")
	return append(append(b, byte(len(trim))), trim...)
}

func takeNum(b []byte) (n uint64, rest []byte, ok bool) {
	if len(b) == 0 || b[0] == 0 || b[0] > 8 || int(b[0]) >= len(b) || b[1] == 0 {
		return 0, nil, false
	}
	end := 1 + int(b[0])
	for _, c := range b[1:end] {
		n = n<<8 | uint64(c)
	}
	return n, b[end:], true
}

func appendHash(b []byte, h uint64) []byte { return binary.BigEndian.AppendUint64(b, h) }

func takeHash(b []byte) (h uint64, rest []byte, ok bool) {
	if len(b) < 8 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(b), b[8:], true
}

// hashNumKey is the key of an index by hash: hash, number.
func hashNumKey(b []byte, h, num uint64) []byte { return appendNum(appendHash(b, h), num) }

func takeHashNum(b []byte) (h, num uint64, ok bool) {
	h, b, ok = takeHash(b)
	if !ok {
		return 0, 0, false
	}
	num, b, ok = takeNum(b)
	return h, num, ok && len(b) == 0
}

// linkKey is the key of a link: source, hash of the link, target.
func linkKey(b []byte, src, h, dst uint64) []byte {
	return appendNum(appendHash(appendNum(b, src), h), dst)
}

func takeLinkKey(b []byte) (src, h, dst uint64, ok bool) {
	if src, b, ok = takeNum(b); !ok {
		return
	}
	if h, b, ok = takeHash(b); !ok {
		return
	}
	dst, b, ok = takeNum(b)
	return src, h, dst, ok && len(b) == 0
}

// backlinkKey is the key of a backlink that is not inline: target, source, hash.
func backlinkKey(b []byte, dst, src, h uint64) []byte {
	return appendHash(appendNum(appendNum(b, dst), src), h)
}

func takeBacklinkKey(b []byte) (dst, src, h uint64, ok bool) {
	if dst, b, ok = takeNum(b); !ok {
		return
	}
	if src, b, ok = takeNum(b); !ok {
		return
	}
	h, b, ok = takeHash(b)
	return dst, src, h, ok && len(b) == 0
}

// numHashKey is the key of a result that is not inline: node, hash.
func numHashKey(b []byte, num, h uint64) []byte { return appendHash(appendNum(b, num), h) }

func takeNumHash(b []byte) (num, h uint64, ok bool) {
	if num, b, ok = takeNum(b); !ok {
		return
	}
	h, b, ok = takeHash(b)
	return num, h, ok && len(b) == 0
}
