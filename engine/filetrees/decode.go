package filetrees

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"

	"github.com/tenonbuild/tenon/engine/contenthash"
)

var errDamaged = errors.New("it is damaged, or of another version")

// maxDepth bounds how deep the directories of one file are in each other: a directory that is
// empty takes no room.
const maxDepth = maxInline + 2

// open returns the listing of a file.
func open(b []byte) ([]byte, error) {
	if len(b) < len(magic)+4 || string(b[:len(magic)]) != magic {
		return nil, errDamaged
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(body):]) {
		return nil, errDamaged
	}
	return body[len(magic):], nil
}

// decode reads a listing, which is to be all of b.
func (s *Store) decode(b []byte) ([]*dir, error) {
	d := &decoder{b: b, s: s}
	list := d.listing(0)
	if d.bad || len(d.b) > 0 {
		return nil, errDamaged
	}
	return list, nil
}

// decoder reads values from b. After one that is not there, bad is set and the rest is zero.
type decoder struct {
	b   []byte
	s   *Store
	bad bool
}

func (d *decoder) listing(depth int) []*dir {
	n := d.uvarint(math.MaxInt)
	// An entry takes at least seven bytes.
	if depth > maxDepth || n > uint64(len(d.b))/7 {
		d.bad = true
	}
	if d.bad {
		return nil
	}
	list := make([]*dir, 0, n)
	for range n {
		c := &dir{store: d.s, name: d.string()}
		d.entry(&c.entry)
		if c.entry.Kind == contenthash.Dir {
			d.sum(&c.sum)
			switch d.byte() {
			case 0:
				c.children, c.loaded = d.listing(depth+1), true
			case 1:
			default:
				d.bad = true
			}
		}
		if d.bad {
			return nil
		}
		if len(list) > 0 && list[len(list)-1].name >= c.name || c.name == "" {
			d.bad = true
			return nil
		}
		list = append(list, c)
	}
	return list
}

func (d *decoder) entry(e *contenthash.Entry) {
	e.Kind = contenthash.Kind(d.byte())
	e.Mode = uint32(d.uvarint(math.MaxUint32))
	e.UID = uint32(d.uvarint(math.MaxUint32))
	e.GID = uint32(d.uvarint(math.MaxUint32))
	for n := d.uvarint(math.MaxInt); n > 0 && !d.bad; n-- {
		k := d.string()
		if e.Xattrs == nil {
			e.Xattrs = map[string][]byte{}
		}
		e.Xattrs[k] = []byte(d.string())
	}
	switch e.Kind {
	case contenthash.File:
		e.Size = int64(d.uvarint(math.MaxInt64))
		d.sum(&e.Content)
	case contenthash.Symlink:
		e.Target = d.string()
	case contenthash.Char, contenthash.Block:
		e.Major = uint32(d.uvarint(math.MaxUint32))
		e.Minor = uint32(d.uvarint(math.MaxUint32))
	case contenthash.Dir, contenthash.Fifo, contenthash.Socket:
	default:
		d.bad = true
	}
}

func (d *decoder) took(n int) bool {
	if d.bad || n <= 0 || n > len(d.b) {
		d.bad = true
		return false
	}
	d.b = d.b[n:]
	return true
}

func (d *decoder) byte() (v byte) {
	if len(d.b) > 0 {
		v = d.b[0]
	}
	d.took(1)
	return v
}

func (d *decoder) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if !d.took(n) || v > most {
		d.bad = true
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
