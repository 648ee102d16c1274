// Package boltpages reads the pages of bolt files (go.etcd.io/bbolt) that may be
// damaged, without mapping them. Bolt itself trusts its pages: it panics, partly in
// goroutines of its own, and a program that follows a wrong pointer in a mapped file
// cannot be saved. So a file is checked first: bolt can open, walk and write one of
// which Check finds no fault. Of one that has faults, Walk reads what can be read.
//
// Keys and values have no checksum: whether they are right is for whoever wrote them
// to see.
package boltpages

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
)

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

	// maxBuckets is how deep buckets may be nested: nobody nests more than a few.
	maxBuckets = 100
)

// Check proves that each page of a file that nobody writes is in exactly one place: in
// one tree or in the list of free pages, and that keys are in order. It calls fault
// for each fault that it finds. It reads the file once. Errors: *Damage, if the file is
// cut short or no bolt file; those of reading.
func Check(f *os.File, fault func(text string)) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	meta, err := ReadMeta(f, info.Size())
	if err != nil {
		return err
	}
	w := &walk{f: f, meta: meta, seen: make([]uint64, meta.End), fault: fault}
	w.tree(meta.Root, nil, nil, nil)
	if meta.Freelist == NoFreelist {
		return nil // whoever made the file finds free pages in another way
	}
	w.freelist()
	for i, used := range w.seen[2:] {
		switch {
		case used == 0:
			w.faultf("page %d is neither in use nor free", i+2)
		case used > 1 && used != usedFree:
			w.faultf("page %d is in use more than once, or free and in use", i+2)
		}
	}
	return nil
}

// Visitor is told what a file holds. A path is the names of buckets, from the top; it
// and other slices are the visitor's only until it returns.
type Visitor interface {
	// Bucket is called before what is in the bucket. Sequence is bolt's.
	Bucket(path [][]byte, sequence uint64)
	Key(path [][]byte, key, value []byte)
}

// Walk tells v what can be read of a file, damaged or not, each page once. What a fault
// hides is left out; what a fault has changed without a trace is not known. It ends
// with an error only if reading fails otherwise than by the file's end, or if there is
// nothing to begin with: then that is a *Damage.
func Walk(f *os.File, v Visitor) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	all, err := metas(f, info.Size())
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return damaged("it has no intact meta page")
	}
	// The older meta page leads to what there was before the last transaction: what the
	// newer one does not lead to may be there.
	for _, meta := range all {
		meta.End = min(meta.End, uint64(info.Size())/meta.PageSize)
		w := &walk{f: f, meta: meta, seen: make([]uint64, meta.End), fault: func(string) {}, to: v}
		if w.tree(meta.Root, nil, nil, nil); w.told {
			return nil
		}
	}
	return nil
}

// walk goes through the pages of a file.
type walk struct {
	f     *os.File
	meta  Meta
	seen  []uint64 // what each page is used for: how often in a tree, and usedFree
	fault func(string)
	// to gets what is found, and is nil in a check. With it, a walk goes on behind a
	// fault. Told says that it got something.
	to   Visitor
	told bool
}

const usedFree = 1 << 32

func (w *walk) faultf(format string, args ...any) { w.fault(fmt.Sprintf(format, args...)) }

// readAt reads all of b, or says that the file is cut short.
func (w *walk) readAt(b []byte, off int64) error {
	n, err := w.f.ReadAt(b, off)
	if err == io.EOF && n < len(b) {
		return damaged("the file ends at %d, in the middle of a page", off+int64(n))
	}
	if n == len(b) {
		return nil
	}
	return err
}

// page reads a page with those that belong to it, and counts its use.
func (w *walk) page(id, use uint64) (b []byte, ok bool) {
	if id < 2 || id >= w.meta.End {
		w.faultf("page %d is outside of the file", id)
		return nil, false
	}
	// Most pages stand alone: the first of several is read twice.
	b = make([]byte, w.meta.PageSize)
	if err := w.readAt(b, int64(id*w.meta.PageSize)); err != nil {
		w.faultf("page %d: %v", id, err)
		return nil, false
	}
	n := 1 + uint64(order.Uint32(b[12:]))
	if got := order.Uint64(b); got != id || n > w.meta.End-id {
		w.faultf("page %d says it is page %d, of %d pages", id, got, n)
		return nil, false
	}
	twice := false
	for i := id; i < id+n; i++ {
		twice = twice || w.seen[i]&^usedFree != 0
		w.seen[i] += use
	}
	if twice {
		return nil, false
	}
	if n == 1 {
		return b, true
	}
	b = make([]byte, n*w.meta.PageSize)
	if err := w.readAt(b, int64(id*w.meta.PageSize)); err != nil {
		w.faultf("page %d: %v", id, err)
		return nil, false
	}
	return b, true
}

func (w *walk) freelist() {
	b, ok := w.page(w.meta.Freelist, 1)
	if !ok {
		return
	}
	count, ids := uint64(order.Uint16(b[10:])), b[pageHeader:]
	if count == math.MaxUint16 {
		count, ids = order.Uint64(ids), ids[8:]
	}
	if order.Uint16(b[8:]) != pageFreelist || count > uint64(len(ids)/8) {
		w.faultf("page %d is no list of free pages", w.meta.Freelist)
		return
	}
	for range count {
		if id := order.Uint64(ids); id < 2 || id >= w.meta.End {
			w.faultf("free page %d is outside of the file", id)
		} else {
			w.seen[id] += usedFree
		}
		ids = ids[8:]
	}
}

// tree walks the pages below a page, whose keys begin with low, unless that is nil, and
// are below high, unless that is nil: bolt finds a page in its parent by its first key
// when it has changed. Path is where it belongs.
func (w *walk) tree(id uint64, low, high []byte, path [][]byte) {
	b, ok := w.page(id, 1)
	if !ok {
		return
	}
	switch order.Uint16(b[8:]) {
	case pageLeaf:
		w.leaf(id, b, low, high, path, false)
	case pageBranch:
		w.branch(id, b, low, high, path)
	default:
		w.faultf("page %d is of the wrong kind %#x", id, order.Uint16(b[8:]))
	}
}

// elems are the bytes of a page.
type elems struct {
	b []byte
	// left is how many bytes its elements may have together: of those that are damaged
	// each could be most of the page.
	left uint64
}

func elemsOf(b []byte) *elems { return &elems{b, 8 * uint64(len(b))} }

// elem returns n bytes that begin at off bytes from the element at.
func (w *walk) elem(id uint64, e *elems, at int, off, n uint64) []byte {
	start := uint64(at) + off
	if n > uint64(len(e.b)) || start > uint64(len(e.b))-n || n > e.left {
		w.faultf("page %d: an element is outside of it, or they overlap", id)
		return nil
	}
	e.left -= n
	return e.b[start : start+n : start+n]
}

// leaf walks the keys of a leaf. One that follows in the value of a bucket has no buckets.
func (w *walk) leaf(id uint64, b []byte, low, high []byte, path [][]byte, inline bool) {
	count, e := int(order.Uint16(b[10:])), elemsOf(b)
	if w.elem(id, e, pageHeader, 0, uint64(count)*leafElem) == nil {
		if w.to == nil {
			return
		}
		count = (len(b) - pageHeader) / leafElem
	}
	var last []byte
	for i := range count {
		at := pageHeader + i*leafElem
		kind, off := order.Uint32(b[at:]), uint64(order.Uint32(b[at+4:]))
		klen, vlen := uint64(order.Uint32(b[at+8:])), uint64(order.Uint32(b[at+12:]))
		kv := w.elem(id, e, at, off, klen+vlen)
		if kv == nil {
			if w.to == nil {
				return
			}
			continue
		}
		key, value := kv[:klen:klen], kv[klen:]
		sound := klen > 0 && (kind == 0 || kind == elemBucket && !inline && len(path) < maxBuckets) && (i == 0 || bytes.Compare(last, key) < 0) &&
			(i > 0 || low == nil || bytes.Equal(key, low)) && (high == nil || bytes.Compare(key, high) < 0)
		if !sound {
			w.faultf("page %d: key %x is empty, of no kind that can be there or not in order", id, key)
			if w.to != nil {
				continue
			}
		}
		last = key
		switch {
		case kind&elemBucket != 0:
			w.bucket(id, value, append(path[:len(path):len(path)], key))
		case w.to != nil:
			w.told = true
			w.to.Key(path, key, value)
		}
	}
}

// bucket walks a bucket: its root is a page, or follows in the value itself.
func (w *walk) bucket(id uint64, value []byte, path [][]byte) {
	if len(value) < bucketValue {
		w.faultf("page %d: bucket %q is cut short", id, path[len(path)-1])
		return
	}
	if w.to != nil {
		w.told = true
		w.to.Bucket(path, order.Uint64(value[8:]))
	}
	if root := order.Uint64(value); root != 0 {
		w.tree(root, nil, nil, path)
		return
	}
	inline := value[bucketValue:]
	if len(inline) < pageHeader || order.Uint16(inline[8:]) != pageLeaf {
		w.faultf("page %d: bucket %q is cut short", id, path[len(path)-1])
		return
	}
	w.leaf(id, inline, nil, nil, path, true)
}

func (w *walk) branch(id uint64, b []byte, low, high []byte, path [][]byte) {
	count, e := int(order.Uint16(b[10:])), elemsOf(b)
	if count == 0 || w.elem(id, e, pageHeader, 0, uint64(count)*branchElem) == nil {
		w.faultf("page %d leads nowhere", id)
		if w.to == nil {
			return
		}
		count = min(count, (len(b)-pageHeader)/branchElem)
	}
	keys := make([][]byte, count+1)
	keys[count] = high
	sound := true
	for i := range count {
		at := pageHeader + i*branchElem
		keys[i] = w.elem(id, e, at, uint64(order.Uint32(b[at:])), uint64(order.Uint32(b[at+4:])))
		sound = sound && keys[i] != nil
	}
	for i := 0; i < count && sound; i++ {
		if len(keys[i]) == 0 || i == 0 && low != nil && !bytes.Equal(keys[i], low) || keys[i+1] != nil && bytes.Compare(keys[i], keys[i+1]) >= 0 {
			w.faultf("page %d: key %x is empty or not in order", id, keys[i])
			sound = false
		}
	}
	if !sound && w.to == nil {
		return
	}
	for i := range count {
		page := order.Uint64(b[pageHeader+i*branchElem+8:])
		if sound {
			w.tree(page, keys[i], keys[i+1], path)
		} else {
			w.tree(page, nil, nil, path) // which keys it should have is not known
		}
	}
}
