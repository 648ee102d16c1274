package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/boltstore/boltpages"
)

// maxFaults is how many faults a check lists.
const maxFaults = 20

// faults collects what a check finds.
type faults struct {
	list  []string
	count int
}

func (f *faults) add(format string, args ...any) {
	f.count++
	if len(f.list) < maxFaults {
		f.list = append(f.list, fmt.Sprintf(format, args...))
	}
}

func (f *faults) err(path string) error {
	if f.count == 0 {
		return nil
	}
	errs := make([]error, len(f.list))
	for i, text := range f.list {
		errs[i] = errors.New(text)
	}
	return errors.Join(corrupt(path, "%d faults were found", f.count), errors.Join(errs...))
}

// Check proves the file as it is on the disk, without what is pending: that its
// pages are sound, each link is found from both of its ends, each ID and each
// result leads to its nodes and back, nothing leads nowhere, and the counts
// agree. It returns an error that matches ErrCorrupt and lists the first faults.
// It takes time that is linear in the file's size. Look-ups and writes go on
// meanwhile, commits wait.
func (s *Store) Check() error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	s.mu.RLock()
	closed := s.closed
	s.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	var f faults
	err := checkFile(s.path, &f)
	if err == nil && f.count == 0 {
		err = s.view(func(d *disk) error {
			c := checker{disk: d, faults: &f}
			return c.run()
		})
	}
	return errors.Join(err, f.err(s.path))
}

// CheckFile is Check for a file that is not open. It changes nothing in it, and
// returns the errors of Open as well.
func CheckFile(path string) error {
	var f faults
	if _, err := checkHeader(path); err != nil {
		return err
	}
	// Bolt opens for reading what it cannot write, and locks it.
	db, _, err := openBolt(path, true)
	if err != nil {
		return err
	}
	err = func() error {
		if err := checkFile(path, &f); err != nil || f.count > 0 {
			return err
		}
		seed, err := readFormat(path, db)
		if err != nil {
			return err
		}
		s := &Store{path: path, db: db, hash: hasher{seed: seed, mask: ^uint64(0)}}
		return s.view(func(d *disk) error {
			c := checker{disk: d, faults: &f}
			return c.run()
		})
	}()
	return errors.Join(err, f.err(path), db.Close())
}

func checkFile(path string, f *faults) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("boltstore: %w", err)
	}
	defer file.Close()
	return pagesError(path, boltpages.Check(file, func(text string) { f.add("%s", text) }))
}

// checker proves what the records say of each other. Pages are sound.
type checker struct {
	*disk
	faults *faults
	// The keys that there should be for what the records say.
	ids, holders, links int
}

func (c *checker) run() error {
	steps := []func() error{c.nodes, c.moreResults, c.moreBacklinks, c.indexes}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// each visits all keys of a bucket.
func (c *checker) each(bucket int, fn func(k, v []byte)) error {
	return c.scan(bucket, nil, nil, func(k, v []byte) (bool, error) {
		fn(k, v)
		return true, nil
	})
}

// exists says whether a bucket has the key.
func (c *checker) exists(bucket int, key []byte) bool { return c.bucket(bucket).Get(key) != nil }

// nodes checks the records of the nodes.
func (c *checker) nodes() error {
	last := c.bucket(nodes).Sequence()
	return c.each(nodes, func(k, v []byte) {
		num, rest, ok := takeNum(k)
		rec, err := decodeRecord(v)
		if !ok || len(rest) > 0 || err != nil || !bytes.Equal(rec.append(nil), v) {
			c.faults.add("node %x: not in the format", k)
			return
		}
		if num > last {
			c.faults.add("node %d: numbers end at %d", num, last)
		}
		c.node(num, rec)
	})
}

func (c *checker) node(num uint64, rec *record) {
	id := unpack(rec.id)
	if id == "" || !bytes.Equal(appendString(nil, id), rec.id) {
		c.faults.add("node %d: its ID is empty or badly packed", num)
		return
	}
	h := c.hash.name(id)
	if found, _, err := c.lookup(h, id); err != nil || found != num {
		c.faults.add("node %d: its ID %q leads to node %d (%v)", num, id, found, err)
	}
	c.ids++
	var hashes []uint64
	for i, res := range rec.results {
		if slices.ContainsFunc(rec.results[:i], func(r solver.CacheResult) bool { return r.ID == res.ID }) {
			c.faults.add("node %d: it has result %q twice", num, res.ID)
		}
		hashes = c.holder(num, res, hashes)
	}
	var seen []newBacklink
	for _, bl := range rec.backlinks {
		seen = c.backlink(num, bl.src, bl.link, seen)
	}
	prefix := appendNum(nil, num)
	if len(rec.results)+len(rec.backlinks) > 0 || c.any(links, prefix) || rec.moreResults && c.any(results, prefix) || rec.moreBacklinks && c.any(backlinks, prefix) {
		return
	}
	c.faults.add("node %d: it has no results, and no links from it or to it", num)
}

// any says whether a bucket has a key with a prefix.
func (c *checker) any(bucket int, prefix []byte) bool {
	k, _ := c.bucket(bucket).Cursor().Seek(prefix)
	return bytes.HasPrefix(k, prefix)
}

// holder checks that a result leads to its node. Results of one node and hash
// share a key: hashes are those that were counted.
func (c *checker) holder(num uint64, res solver.CacheResult, hashes []uint64) []uint64 {
	h := c.hash.name(res.ID)
	if !c.exists(holders, hashNumKey(c.key[:0], h, num)) {
		c.faults.add("node %d: result %q does not lead back to it", num, res.ID)
	}
	if slices.Contains(hashes, h) {
		return hashes
	}
	c.holders++
	return append(hashes, h)
}

// backlink checks that a link is found at its source. Links of one source and
// hash share a key: seen are those that were counted.
func (c *checker) backlink(dst, src uint64, link []byte, seen []newBacklink) []newBacklink {
	info := unpackLink(link)
	h := c.hash.link(info)
	if !bytes.Equal(appendLink(nil, info), link) {
		c.faults.add("node %d: a link to it is badly packed", dst)
	}
	if c.record(src) == nil {
		c.faults.add("node %d: a link to it comes from node %d, which is missing", dst, src)
	}
	if !c.exists(links, linkKey(c.key[:0], src, h, dst)) {
		c.faults.add("node %d: a link from node %d is not found there", dst, src)
	}
	counted := false
	for _, old := range seen {
		if old.src == src && bytes.Equal(old.link, link) {
			c.faults.add("node %d: it has a link from node %d twice", dst, src)
		}
		counted = counted || old.src == src && old.hash == h
	}
	if !counted {
		c.links++
	}
	return append(seen, newBacklink{src: src, hash: h, link: link})
}

// moreResults checks the results that are not inline.
func (c *checker) moreResults() error {
	return c.each(results, func(k, v []byte) {
		num, h, ok := takeNumHash(k)
		list, err := decodeResults(v)
		rec, recErr := decodeRecord(c.record(num))
		if !ok || err != nil || recErr != nil || !rec.moreResults {
			c.faults.add("result %x: not in the format, or of no node", k)
			return
		}
		var hashes []uint64
		for _, res := range rec.results {
			if c.hash.name(res.ID) == h {
				hashes = append(hashes, h) // counted with the node
			}
		}
		for i, res := range list {
			is := func(r solver.CacheResult) bool { return r.ID == res.ID }
			if c.hash.name(res.ID) != h || slices.ContainsFunc(rec.results, is) || slices.ContainsFunc(list[:i], is) {
				c.faults.add("node %d: result %q is in the wrong place, or there twice", num, res.ID)
			}
			hashes = c.holder(num, res, hashes)
		}
	})
}

// moreBacklinks checks the backlinks that are not inline.
func (c *checker) moreBacklinks() error {
	return c.each(backlinks, func(k, v []byte) {
		dst, src, h, ok := takeBacklinkKey(k)
		list, err := decodeLinks(v)
		rec, recErr := decodeRecord(c.record(dst))
		if !ok || err != nil || recErr != nil || !rec.moreBacklinks {
			c.faults.add("backlink %x: not in the format, or of no node", k)
			return
		}
		var seen []newBacklink
		for _, bl := range rec.backlinks {
			if bl.src == src {
				seen = append(seen, newBacklink{src: src, hash: c.hash.link(unpackLink(bl.link)), link: bl.link})
			}
		}
		for _, link := range list {
			if c.hash.link(unpackLink(link)) != h {
				c.faults.add("node %d: a link from node %d is in the wrong place", dst, src)
			}
			seen = c.backlink(dst, src, link, seen)
		}
	})
}

// indexes checks that each key of the indexes is well formed. There are as many
// as there should be, and those that should be there are: so these are they.
func (c *checker) indexes() error {
	check := func(bucket, want int, valid func(k []byte) bool) error {
		got := 0
		err := c.each(bucket, func(k, v []byte) {
			got++
			if !valid(k) || len(v) > 0 {
				c.faults.add("bucket %s: key %x is not in the format", dataBuckets[bucket], k)
			}
		})
		if got != want {
			c.faults.add("bucket %s has %d keys, and should have %d", dataBuckets[bucket], got, want)
		}
		return err
	}
	hashNum := func(k []byte) bool { _, _, ok := takeHashNum(k); return ok }
	return errors.Join(
		check(ids, c.ids, hashNum),
		check(holders, c.holders, hashNum),
		check(links, c.links, func(k []byte) bool { _, _, _, ok := takeLinkKey(k); return ok }),
	)
}
