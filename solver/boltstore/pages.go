package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math"
	"os"
)

// This file knows the pages of a bolt file, and reads them without mapping the
// file: bolt itself trusts them, and a program that follows a wrong pointer in
// a mapped file from a goroutine that it does not own cannot be saved.
//
// A page begins with its number (8 bytes), its kind (2), the count of its
// elements (2), and how many pages follow that belong to it (4). Numbers are in
// the machine's byte order.
const (
	pageHeader  = 16
	leafElem    = 16 // kind, where the key is, its length, the value's (4 each)
	branchElem  = 16 // where the key is, its length (4 each), page (8)
	bucketValue = 16 // root page, sequence (8 each)

	pageBranch   = 0x01
	pageLeaf     = 0x02
	pageFreelist = 0x10

	elemBucket = 0x01

	boltMagic   = 0xed0cdaed
	boltVersion = 2
	metaLen     = 64
	noFreelist  = math.MaxUint64
)

var order = binary.NativeEndian

// fileMeta is what the newer of the two intact meta pages says.
type fileMeta struct {
	pageSize uint64
	root     uint64
	freelist uint64
	// end is the number of the page after the last.
	end  uint64
	txid uint64
}

// parseMeta reads a meta page from the start of b.
func parseMeta(b []byte) (fileMeta, bool) {
	if len(b) < pageHeader+metaLen {
		return fileMeta{}, false
	}
	b = b[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:metaLen-8])
	if order.Uint32(b) != boltMagic || order.Uint32(b[4:]) != boltVersion || order.Uint64(b[56:]) != sum.Sum64() {
		return fileMeta{}, false
	}
	m := fileMeta{
		pageSize: uint64(order.Uint32(b[8:])),
		root:     order.Uint64(b[16:]),
		freelist: order.Uint64(b[32:]),
		end:      order.Uint64(b[40:]),
		txid:     order.Uint64(b[48:]),
	}
	return m, m.pageSize >= 512 && m.pageSize&(m.pageSize-1) == 0
}

// readMeta reads the meta pages, and holds them against the file's size.
func readMeta(path string, f *os.File) (fileMeta, error) {
	info, err := f.Stat()
	if err != nil {
		return fileMeta{}, err
	}
	size := info.Size()
	if size == 0 {
		return fileMeta{}, corrupt(path, "it is empty")
	}
	var best fileMeta
	// The second meta page is on the second page, whatever the size of a page is.
	for off := int64(0); off < size && off <= 1<<24; off = max(2*off, 1<<10) {
		var b [pageHeader + metaLen]byte
		if err := readAt(path, f, b[:], off); errors.Is(err, ErrCorrupt) {
			break
		} else if err != nil {
			return fileMeta{}, err
		}
		m, ok := parseMeta(b[:])
		if ok && (off == 0 || uint64(off) == m.pageSize) && m.txid >= best.txid {
			best = m
		}
	}
	switch {
	case best.pageSize == 0:
		return best, corrupt(path, "it has no intact meta page: it is not a bolt file, or its beginning was overwritten")
	case best.end > uint64(size)/best.pageSize:
		return best, corrupt(path, "it is cut short: it has %d bytes and should have %d pages of %d", size, best.end, best.pageSize)
	case best.root < 2 || best.root >= best.end || best.freelist != noFreelist && (best.freelist < 2 || best.freelist >= best.end):
		return best, corrupt(path, "its meta page points outside of it")
	}
	return best, nil
}

// pageCheck walks all pages of a file that nobody writes.
type pageCheck struct {
	path   string
	f      *os.File
	meta   fileMeta
	seen   []uint64 // what each page is used for: how often in a tree, and usedFree
	faults *faults
}

const usedFree = 1 << 32

// checkPages proves that each page of a file is in exactly one place: in one
// tree or in the list of free pages, and that keys are in order. Bolt can walk
// such a file.
func checkPages(path string, f *os.File, out *faults) error {
	meta, err := readMeta(path, f)
	if err != nil {
		return err
	}
	c := &pageCheck{path: path, f: f, meta: meta, seen: make([]uint64, meta.end), faults: out}
	c.tree(meta.root, nil, nil)
	if meta.freelist == noFreelist {
		return nil // whoever made the file finds free pages in another way
	}
	c.freelist()
	for i, used := range c.seen[2:] {
		switch {
		case used == 0:
			c.faults.add("page %d is neither in use nor free", i+2)
		case used > 1 && used != usedFree:
			c.faults.add("page %d is in use more than once, or free and in use", i+2)
		}
	}
	return nil
}

// page reads a page with those that belong to it, and counts its use.
func (c *pageCheck) page(id, use uint64) (b []byte, ok bool) {
	if id < 2 || id >= c.meta.end {
		c.faults.add("page %d is outside of the file", id)
		return nil, false
	}
	head := make([]byte, pageHeader)
	if err := readAt(c.path, c.f, head, int64(id*c.meta.pageSize)); err != nil {
		c.faults.add("page %d: %v", id, err)
		return nil, false
	}
	n := 1 + uint64(order.Uint32(head[12:]))
	if got := order.Uint64(head); got != id || n > c.meta.end-id {
		c.faults.add("page %d says it is page %d, of %d pages", id, got, n)
		return nil, false
	}
	twice := false
	for i := id; i < id+n; i++ {
		twice = twice || c.seen[i]&^usedFree != 0
		c.seen[i] += use
	}
	if twice {
		return nil, false
	}
	b = make([]byte, n*c.meta.pageSize)
	if err := readAt(c.path, c.f, b, int64(id*c.meta.pageSize)); err != nil {
		c.faults.add("page %d: %v", id, err)
		return nil, false
	}
	return b, true
}

func (c *pageCheck) freelist() {
	b, ok := c.page(c.meta.freelist, 1)
	if !ok {
		return
	}
	count, ids := uint64(order.Uint16(b[10:])), b[pageHeader:]
	if count == math.MaxUint16 {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if order.Uint16(b[8:]) != pageFreelist || count > uint64(len(ids)/8) {
		c.faults.add("page %d is no list of free pages", c.meta.freelist)
		return
	}
	for range count {
		if id := order.Uint64(ids); id < 2 || id >= c.meta.end {
			c.faults.add("free page %d is outside of the file", id)
		} else {
			c.seen[id] += usedFree
		}
		ids = ids[8:]
	}
}

// tree walks the pages below a page, whose keys are not below low and, if high
// is not nil, below high.
func (c *pageCheck) tree(id uint64, low, high []byte) {
	b, ok := c.page(id, 1)
	if !ok {
		return
	}
	switch order.Uint16(b[8:]) {
	case pageLeaf:
		c.leaf(id, b, low, high)
	case pageBranch:
		c.branch(id, b, low, high)
	default:
		c.faults.add("page %d is of the wrong kind %#x", id, order.Uint16(b[8:]))
	}
}

// elem returns n bytes that begin at off bytes from the element at.
func (c *pageCheck) elem(id uint64, b []byte, at int, off, n uint64) []byte {
	start := uint64(at) + off
	if n > uint64(len(b)) || start > uint64(len(b))-n {
		c.faults.add("page %d: an element is outside of it", id)
		return nil
	}
	return b[start : start+n : start+n]
}

func (c *pageCheck) leaf(id uint64, b []byte, low, high []byte) {
	count := int(order.Uint16(b[10:]))
	if c.elem(id, b, pageHeader, 0, uint64(count)*leafElem) == nil {
		return
	}
	var last []byte
	for i := range count {
		at := pageHeader + i*leafElem
		off, klen, vlen := uint64(order.Uint32(b[at+4:])), uint64(order.Uint32(b[at+8:])), uint64(order.Uint32(b[at+12:]))
		kv := c.elem(id, b, at, off, klen+vlen)
		if kv == nil {
			return
		}
		key, value := kv[:klen], kv[klen:]
		if i > 0 && bytes.Compare(last, key) >= 0 || bytes.Compare(key, low) < 0 || high != nil && bytes.Compare(key, high) >= 0 {
			c.faults.add("page %d: key %x is not in order", id, key)
		}
		last = key
		if order.Uint32(b[at:])&elemBucket != 0 {
			c.bucket(id, key, value)
		}
	}
}

// bucket walks a bucket: its root is a page, or follows in the value itself.
func (c *pageCheck) bucket(id uint64, name, value []byte) {
	if len(value) < bucketValue {
		c.faults.add("page %d: bucket %q is cut short", id, name)
		return
	}
	if root := order.Uint64(value); root != 0 {
		c.tree(root, nil, nil)
		return
	}
	inline := value[bucketValue:]
	if len(inline) < pageHeader || order.Uint16(inline[8:]) != pageLeaf {
		c.faults.add("page %d: bucket %q is cut short", id, name)
		return
	}
	c.leaf(id, inline, nil, nil)
}

func (c *pageCheck) branch(id uint64, b []byte, low, high []byte) {
	count := int(order.Uint16(b[10:]))
	if count == 0 || c.elem(id, b, pageHeader, 0, uint64(count)*branchElem) == nil {
		c.faults.add("page %d leads nowhere", id)
		return
	}
	keys := make([][]byte, count+1)
	keys[count] = high
	for i := range count {
		at := pageHeader + i*branchElem
		keys[i] = c.elem(id, b, at, uint64(order.Uint32(b[at:])), uint64(order.Uint32(b[at+4:])))
		if keys[i] == nil {
			return
		}
	}
	for i := range count {
		if bytes.Compare(keys[i], low) < 0 || keys[i+1] != nil && bytes.Compare(keys[i], keys[i+1]) >= 0 {
			c.faults.add("page %d: key %x is not in order", id, keys[i])
			return
		}
	}
	for i := range count {
		c.tree(order.Uint64(b[pageHeader+i*branchElem+8:]), keys[i], keys[i+1])
	}
}
