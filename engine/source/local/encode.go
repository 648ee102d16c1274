package local

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"

	"github.com/tenonbuild/tenon/engine/contenthash"
)

// A memory is kept as
//
//	magic    8 bytes, with the version
//	dir      uvarint length, bytes
//	count    uvarint
//	entries  count times
//	         path        uvarint length, bytes
//	         dev, ino    uvarints
//	         size        uvarint
//	         mtime ctime varints, nanoseconds since 1970
//	         mode, day   uvarints
//	         sum         32 bytes
//	crc      4 bytes, big endian: CRC-32 (Castagnoli) of all before
const magic = "tnlocal\x02"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errBadMemory = errors.New("not a memory of this version")

func (m *memory) encode() []byte {
	b := make([]byte, 0, 128*len(m.byPath)+64)
	b = append(b, magic...)
	b = appendString(b, m.dir)
	b = binary.AppendUvarint(b, uint64(len(m.byPath)))
	for p, e := range m.byPath {
		b = appendString(b, p)
		b = binary.AppendUvarint(b, e.id.dev)
		b = binary.AppendUvarint(b, e.id.ino)
		b = binary.AppendUvarint(b, uint64(e.id.size))
		b = binary.AppendVarint(b, e.id.mtime)
		b = binary.AppendVarint(b, e.id.ctime)
		b = binary.AppendUvarint(b, uint64(e.id.mode))
		b = binary.AppendUvarint(b, uint64(e.day))
		b = append(b, e.sum[:]...)
	}
	return seal(b)
}

func seal(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decodeMemory reads what encode wrote. Anything else is an error.
func decodeMemory(b []byte) (*memory, error) {
	if len(b) < len(magic)+4 || string(b[:len(magic)]) != magic {
		return nil, errBadMemory
	}
	body, crc := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != crc {
		return nil, errBadMemory
	}
	d := &decoder{b: body[len(magic):]}
	m := &memory{dir: d.string()}
	count := d.uvarint(math.MaxInt)
	// An entry takes at least 40 bytes.
	if d.bad || count > uint64(len(d.b)/40) {
		return nil, errBadMemory
	}
	m.byPath = make(map[string]remembered, count)
	for range count {
		p := d.string()
		var e remembered
		e.id.dev = d.uvarint(math.MaxUint64)
		e.id.ino = d.uvarint(math.MaxUint64)
		e.id.size = int64(d.uvarint(math.MaxInt64))
		e.id.mtime = d.varint()
		e.id.ctime = d.varint()
		e.id.mode = uint32(d.uvarint(math.MaxUint32))
		e.day = uint32(d.uvarint(math.MaxUint32 - keepDays))
		d.sum(&e.sum)
		if _, twice := m.byPath[p]; d.bad || twice {
			return nil, errBadMemory
		}
		m.byPath[p] = e
	}
	if len(d.b) != 0 {
		return nil, errBadMemory
	}
	return m, nil
}

// decoder reads values from b. After one that is not there, bad is set and the rest
// is zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) took(n int) bool {
	if d.bad || n <= 0 {
		d.bad = true
		return false
	}
	d.b = d.b[n:]
	return true
}

func (d *decoder) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if !d.took(n) {
		return 0
	}
	if v > most {
		d.bad = true
		return 0
	}
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if !d.took(n) {
		return 0
	}
	return v
}

func (d *decoder) string() string {
	n := d.uvarint(math.MaxInt)
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) sum(to *contenthash.Sum) {
	if d.bad || len(d.b) < len(to) {
		d.bad = true
		return
	}
	d.b = d.b[copy(to[:], d.b):]
}
