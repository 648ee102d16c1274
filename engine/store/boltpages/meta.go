package boltpages

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math"
)

const (
	boltMagic   = 0xed0cdaed
	boltVersion = 2
	metaLen     = 64

	// NoFreelist is Meta.Freelist where the file has no list of free pages: bolt walks
	// the file to find them.
	NoFreelist = math.MaxUint64
)

var order = binary.NativeEndian

// Damage says what is wrong with a file as a whole.
type Damage struct{ Detail string }

func (d *Damage) Error() string { return d.Detail }

func damaged(format string, args ...any) *Damage {
	return &Damage{Detail: fmt.Sprintf(format, args...)}
}

// Meta is what a meta page says. Pages are counted from 0.
type Meta struct {
	// PageSize is in bytes.
	PageSize uint64
	// Root is the page of the topmost bucket.
	Root uint64
	// Freelist is the page of the list of free pages, or NoFreelist.
	Freelist uint64
	// End is the number of the page after the last.
	End uint64
	// TxID counts the transactions.
	TxID uint64
}

// ParseMeta reads a meta page from the start of b, and says whether it is one that is
// intact.
func ParseMeta(b []byte) (Meta, bool) {
	if len(b) < pageHeader+metaLen {
		return Meta{}, false
	}
	b = b[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:metaLen-8])
	if order.Uint32(b) != boltMagic || order.Uint32(b[4:]) != boltVersion || order.Uint64(b[56:]) != sum.Sum64() {
		return Meta{}, false
	}
	m := Meta{
		PageSize: uint64(order.Uint32(b[8:])),
		Root:     order.Uint64(b[16:]),
		Freelist: order.Uint64(b[32:]),
		End:      order.Uint64(b[40:]),
		TxID:     order.Uint64(b[48:]),
	}
	return m, m.PageSize >= 512 && m.PageSize&(m.PageSize-1) == 0
}

// metas returns the intact meta pages of a file of that size, the newer one first.
func metas(f io.ReaderAt, size int64) ([]Meta, error) {
	var found []Meta
	// The second meta page is on the second page, whatever the size of a page is.
	for off := int64(0); off < size && off <= 1<<24; off = max(2*off, 1<<10) {
		var b [pageHeader + metaLen]byte
		if n, err := f.ReadAt(b[:], off); n < len(b) {
			if err == io.EOF {
				break
			}
			return nil, err
		}
		m, ok := ParseMeta(b[:])
		if !ok || off != 0 && uint64(off) != m.PageSize {
			continue
		}
		if len(found) > 0 && m.TxID >= found[0].TxID {
			found = append([]Meta{m}, found...)
		} else {
			found = append(found, m)
		}
	}
	return found, nil
}

// ReadMeta reads the newer of the intact meta pages, and holds it against the size of
// the file. Errors: *Damage; those of reading.
func ReadMeta(f io.ReaderAt, size int64) (Meta, error) {
	if size == 0 {
		return Meta{}, damaged("it is empty")
	}
	all, err := metas(f, size)
	if err != nil {
		return Meta{}, err
	}
	if len(all) == 0 {
		return Meta{}, damaged("it has no intact meta page: it is not a bolt file, or its beginning was overwritten")
	}
	m := all[0]
	switch {
	case m.End > uint64(size)/m.PageSize:
		return m, damaged("it is cut short: it has %d bytes and should have %d pages of %d", size, m.End, m.PageSize)
	case m.Root < 2 || m.Root >= m.End || m.Freelist != NoFreelist && (m.Freelist < 2 || m.Freelist >= m.End):
		return m, damaged("its meta page points outside of it")
	}
	return m, nil
}
