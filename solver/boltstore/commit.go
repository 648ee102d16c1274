package boltstore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/tenonbuild/tenon/solver"
	bolt "go.etcd.io/bbolt"
)

// How full pages are made. Numbers grow, so that what is sorted by them is
// appended and leaves full pages behind. What is sorted by a hash is added all
// over, and needs room.
const (
	fillOrdered = 0.98
	fillHashed  = 0.8
)

// batch applies a layer to the file in one transaction.
//
// It deletes first and adds then, and what it adds it adds in the order of the
// keys: each page is looked for once, and bolt, which splits pages only at the
// commit, never has to insert into the middle of a huge one.
type batch struct {
	disk
	changed bool
	// last is the last number in use when the batch began.
	last uint64
	// records are the records of the file's nodes that are being changed.
	records map[uint64]*record
	// puts are the new keys of each bucket but results and backlinks, which are
	// written at once.
	puts [bucketCount][]pair
	// arena has the bytes of puts.
	arena []byte
}

type pair struct{ key, value []byte }

// newBatch returns a batch with room for n nodes.
func newBatch(tx *bolt.Tx, hash hasher, n int) *batch {
	b := &batch{disk: disk{tx: tx, hash: hash}, records: make(map[uint64]*record)}
	for _, i := range []int{nodes, ids, links, holders} {
		b.puts[i] = make([]pair, 0, n)
	}
	for i := range dataBuckets {
		fill := fillOrdered
		if i == ids || i == holders {
			fill = fillHashed
		}
		b.bucket(i).FillPercent = fill
	}
	return b
}

// apply makes the file what the layer says.
func (b *batch) apply(l *layer) error {
	for id := range l.released {
		if err := b.dropResult(id); err != nil {
			return err
		}
	}
	live, err := b.resolve(l)
	if err != nil {
		return err
	}
	for _, p := range live {
		if err := b.write(p); err != nil {
			return err
		}
	}
	for num, rec := range b.records {
		if !bytes.Equal(rec.append(b.room()), b.record(num)) {
			b.put(nodes, appendNum(b.room(), num), rec.append)
		}
	}
	return b.flush()
}

// resolve deletes the nodes that are cut, and returns those that live in the
// order of their numbers, which it finds or makes.
func (b *batch) resolve(l *layer) ([]*pnode, error) {
	live := make([]*pnode, 0, len(l.order))
	b.last = b.bucket(nodes).Sequence()
	next := b.last
	for _, p := range l.order {
		p.num = 0
		if !p.fresh {
			num, _, err := b.lookup(p.hash, p.id)
			if err != nil {
				return nil, err
			}
			if num != 0 && p.cut {
				if err := b.dropNode(num, p.hash); err != nil {
					return nil, err
				}
				num = 0
			}
			p.num = num
		}
		if !p.live {
			continue
		}
		if p.num == 0 {
			next++
			p.num = next
			b.putKey(ids, hashNumKey(b.room(), p.hash, p.num))
		}
		live = append(live, p)
	}
	slices.SortFunc(live, func(x, y *pnode) int { return cmp.Compare(x.num, y.num) })
	if next == b.last {
		return live, nil
	}
	b.changed = true
	return live, b.bucket(nodes).SetSequence(next)
}

// load returns the record of a node of the file, to be changed.
func (b *batch) load(num uint64) (*record, error) {
	if rec := b.records[num]; rec != nil {
		return rec, nil
	}
	v := b.record(num)
	if v == nil {
		return nil, fmt.Errorf("node %d is missing", num)
	}
	// The record must outlive changes of the bucket it is in.
	rec, err := decodeRecord(bytes.Clone(v))
	if err != nil {
		return nil, fmt.Errorf("node %d: %w", num, err)
	}
	b.records[num] = rec
	return rec, nil
}

// delete deletes a key.
func (b *batch) delete(bucket int, key []byte) error {
	b.changed = true
	return b.bucket(bucket).Delete(key)
}

// dropResult removes a result from every node of the file.
func (b *batch) dropResult(id string) error {
	h := b.hash.name(id)
	prefix := appendHash(nil, h)
	// A cursor must not walk what is being deleted.
	var held []uint64
	err := b.scan(holders, prefix, prefix, func(k, _ []byte) (bool, error) {
		_, num, ok := takeHashNum(k)
		held = append(held, num)
		if !ok {
			return false, errKey
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, num := range held {
		if err := b.dropResultOf(num, h, id); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) dropResultOf(num, h uint64, id string) error {
	rec, err := b.load(num)
	if err != nil {
		return err
	}
	is := func(res solver.CacheResult) bool { return res.ID == id }
	rec.results = slices.DeleteFunc(rec.results, is)
	others := slices.ContainsFunc(rec.results, func(res solver.CacheResult) bool { return b.hash.name(res.ID) == h })
	if rec.moreResults {
		left, err := b.updateResults(num, h, func(list []solver.CacheResult) []solver.CacheResult {
			return slices.DeleteFunc(list, is)
		})
		if err != nil {
			return err
		}
		others = others || left
	}
	if others {
		return nil
	}
	return b.delete(holders, hashNumKey(b.key[:0], h, num))
}

// updateResults changes the results of one hash that are not inline, and says
// whether there are any left.
func (b *batch) updateResults(num, h uint64, fn func([]solver.CacheResult) []solver.CacheResult) (left bool, err error) {
	var list []solver.CacheResult
	key := numHashKey(make([]byte, 0, 20), num, h)
	old := b.bucket(results).Get(key)
	if old != nil {
		if list, err = decodeResults(old); err != nil {
			return false, err
		}
	}
	list = fn(list)
	if len(list) == 0 {
		if old == nil {
			return false, nil
		}
		return false, b.delete(results, key)
	}
	var value []byte
	for _, res := range list {
		value = appendResult(value, res)
	}
	if bytes.Equal(value, old) {
		return true, nil
	}
	b.changed = true
	return true, b.bucket(results).Put(key, value)
}

// dropNode deletes a node of the file, with the links to it. It holds no
// results any more, and no links begin at it that do not end at a node that is
// deleted as well.
func (b *batch) dropNode(num, h uint64) error {
	rec, err := b.load(num)
	if err != nil {
		return err
	}
	if len(rec.results) > 0 {
		return fmt.Errorf("node %d has results and is to be deleted", num)
	}
	value := rec.append(nil)
	var keys, more [][]byte
	err = b.eachBacklink(num, value, func(src uint64, link []byte) error {
		lh := b.hash.link(unpackLink(link))
		keys = append(keys, linkKey(nil, src, lh, num))
		more = append(more, backlinkKey(nil, num, src, lh))
		return nil
	})
	if err != nil {
		return err
	}
	for i := range keys {
		if err := b.delete(links, keys[i]); err != nil {
			return err
		}
		if !rec.moreBacklinks {
			continue
		}
		if err := b.delete(backlinks, more[i]); err != nil {
			return err
		}
	}
	delete(b.records, num)
	return errors.Join(
		b.delete(ids, hashNumKey(b.key[:0], h, num)),
		b.delete(nodes, appendNum(b.key[:0], num)),
	)
}

// isNew says whether a node was not in the file when the batch began.
func (b *batch) isNew(p *pnode) bool { return p.num > b.last }

// write writes what the layer adds to a node.
func (b *batch) write(p *pnode) error {
	var rec *record
	switch {
	case b.isNew(p):
		var room [64]byte
		rec = &record{id: appendString(room[:0], p.id)}
	case len(p.results) == 0 && p.in == nil:
		return nil
	default:
		var err error
		if rec, err = b.load(p.num); err != nil {
			return err
		}
	}
	if err := b.addResults(p, rec); err != nil {
		return err
	}
	if err := b.addBacklinks(p, rec); err != nil {
		return err
	}
	if b.isNew(p) {
		b.put(nodes, appendNum(b.room(), p.num), rec.append)
	}
	return nil
}

func (b *batch) addResults(p *pnode, rec *record) error {
	list := p.results
	if len(list) > inlineResults {
		list = slices.Clone(list)
		slices.SortFunc(list, func(x, y solver.CacheResult) int {
			return cmp.Compare(b.hash.name(x.ID), b.hash.name(y.ID))
		})
	}
	for _, res := range list {
		h := b.hash.name(res.ID)
		if err := b.addResult(p.num, rec, h, res); err != nil {
			return err
		}
		if b.isNew(p) || b.bucket(holders).Get(hashNumKey(b.key[:0], h, p.num)) == nil {
			b.putKey(holders, hashNumKey(b.room(), h, p.num))
		}
	}
	return nil
}

// addResult puts a result where one of its ID is, or else where there is room.
func (b *batch) addResult(num uint64, rec *record, h uint64, res solver.CacheResult) error {
	is := func(old solver.CacheResult) bool { return old.ID == res.ID }
	if i := slices.IndexFunc(rec.results, is); i >= 0 {
		rec.results[i] = res
		return nil
	}
	room := len(rec.results) < inlineResults
	if !rec.moreResults && room {
		rec.results = append(rec.results, res)
		return nil
	}
	rec.moreResults = true
	found := false
	_, err := b.updateResults(num, h, func(list []solver.CacheResult) []solver.CacheResult {
		if i := slices.IndexFunc(list, is); i >= 0 {
			found = true
			list[i] = res
		} else if !room {
			list = append(list, res)
		}
		return list
	})
	if room && !found {
		rec.results = append(rec.results, res)
	}
	return err
}

// newBacklink is a backlink to be added.
type newBacklink struct {
	src, hash uint64
	link      []byte
}

func (b *batch) addBacklinks(p *pnode, rec *record) error {
	var room [8]newBacklink
	list := room[:0]
	for e := p.in; e != nil; e = e.nextIn {
		list = append(list, newBacklink{
			src:  e.src.num,
			hash: b.hash.link(e.link),
			link: b.keep(appendLink(b.room(), e.link)),
		})
	}
	if len(list) > inlineBacklinks {
		slices.SortFunc(list, func(x, y newBacklink) int {
			return cmp.Or(cmp.Compare(x.src, y.src), cmp.Compare(x.hash, y.hash))
		})
	}
	for _, bl := range list {
		if err := b.addBacklink(p.num, rec, bl); err != nil {
			return err
		}
		if b.isNew(p) || b.bucket(links).Get(linkKey(b.key[:0], bl.src, bl.hash, p.num)) == nil {
			b.putKey(links, linkKey(b.room(), bl.src, bl.hash, p.num))
		}
	}
	return nil
}

// addBacklink adds a backlink to the node num, unless it has it.
func (b *batch) addBacklink(num uint64, rec *record, bl newBacklink) error {
	for _, old := range rec.backlinks {
		if old.src == bl.src && bytes.Equal(old.link, bl.link) {
			return nil
		}
	}
	room := len(rec.backlinks) < inlineBacklinks
	if rec.moreBacklinks || !room {
		key := backlinkKey(b.key[:0], num, bl.src, bl.hash)
		value := b.bucket(backlinks).Get(key)
		r := reader{b: value}
		for len(r.b) > 0 {
			if bytes.Equal(r.packedLink(), bl.link) {
				return nil
			}
		}
		if r.bad {
			return errFormat
		}
		if !room {
			rec.moreBacklinks = true
			b.changed = true
			return b.bucket(backlinks).Put(key, append(slices.Clip(value), bl.link...))
		}
	}
	rec.backlinks = append(rec.backlinks, backlink{src: bl.src, link: bl.link})
	return nil
}

// room returns room for a key, or for a value, at the end of the arena.
func (b *batch) room() []byte {
	const least, chunk = 256, 64 << 10
	if cap(b.arena)-len(b.arena) < least {
		b.arena = make([]byte, 0, chunk)
	}
	return b.arena[len(b.arena):]
}

// keep keeps what was appended to room.
func (b *batch) keep(v []byte) []byte {
	// What did not fit is not in the arena.
	if len(v) <= cap(b.arena)-len(b.arena) {
		b.arena = b.arena[:len(b.arena)+len(v)]
	}
	return v[:len(v):len(v)]
}

func (b *batch) put(bucket int, key []byte, value func([]byte) []byte) {
	key = b.keep(key)
	b.puts[bucket] = append(b.puts[bucket], pair{key, b.keep(value(b.room()))})
}

func (b *batch) putKey(bucket int, key []byte) {
	b.puts[bucket] = append(b.puts[bucket], pair{b.keep(key), []byte{}})
}

// flush writes the keys that were put.
func (b *batch) flush() error {
	for i, puts := range b.puts {
		slices.SortFunc(puts, func(x, y pair) int { return bytes.Compare(x.key, y.key) })
		bucket := b.bucket(i)
		for _, p := range puts {
			if err := bucket.Put(p.key, p.value); err != nil {
				return err
			}
		}
		b.changed = b.changed || len(puts) > 0
	}
	return nil
}
