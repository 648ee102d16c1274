package boltstore

import (
	"bytes"
	"errors"

	"github.com/tenonbuild/tenon/solver"
	bolt "go.etcd.io/bbolt"
)

var errKey = errors.New("a key is not in the format")

// The data buckets, as indexes of dataBuckets.
const (
	nodes = iota
	ids
	links
	holders
	results
	backlinks
	bucketCount
)

// disk reads the file in one transaction. Values alias the mapped file: they
// are good as long as the transaction is.
type disk struct {
	tx      *bolt.Tx
	hash    hasher
	buckets [bucketCount]*bolt.Bucket
	key     [64]byte // room for a key to look up
	head    [8]byte  // room for the hash that lookup goes through
}

func (d *disk) bucket(i int) *bolt.Bucket {
	if d.buckets[i] == nil {
		d.buckets[i] = d.tx.Bucket(dataBuckets[i])
	}
	return d.buckets[i]
}

// view runs fn with the file as it is now. The transaction is a short one: fn
// neither waits nor calls back.
func (s *Store) view(fn func(d *disk) error) error {
	if s.within != nil {
		return s.fault(guard(s.path, func() error { return fn(s.within) }))
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return err
	}
	err = guard(s.path, func() error { return fn(&disk{tx: tx, hash: s.hash}) })
	return errors.Join(s.fault(err), tx.Rollback())
}

// fault makes sure that an error in the file says so.
func (s *Store) fault(err error) error {
	if err == nil || errors.Is(err, ErrCorrupt) || errors.Is(err, solver.ErrNotFound) {
		return err
	}
	return corrupt(s.path, "%v", err)
}

// quiet keeps a fault for the next Sync, for look-ups that return no error.
func (s *Store) quiet(err error) {
	if err != nil {
		s.readFault.CompareAndSwap(nil, &err)
	}
}

// scan visits the keys of a bucket that begin with prefix, from the key from
// on, until fn returns false.
func (d *disk) scan(bucket int, prefix, from []byte, fn func(k, v []byte) (bool, error)) error {
	c := d.bucket(bucket).Cursor()
	k, v := c.Seek(from)
	for ; k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if more, err := fn(k, v); !more || err != nil {
			return err
		}
	}
	return nil
}

// record returns the record of a number; nil if there is none.
func (d *disk) record(num uint64) []byte {
	return d.bucket(nodes).Get(appendNum(d.key[:0], num))
}

// lookup finds a node. Its number is 0 if there is none.
func (d *disk) lookup(h uint64, id string) (num uint64, rec []byte, err error) {
	var room [128]byte
	packed := appendString(room[:0], id)
	prefix := appendHash(d.head[:0], h)
	err = d.scan(ids, prefix, prefix, func(k, _ []byte) (bool, error) {
		n, _, ok := takeNum(k[8:])
		if !ok {
			return false, errKey
		}
		b := d.record(n)
		if b == nil {
			return false, errors.New("a node's hash leads nowhere")
		}
		if bytes.HasPrefix(b, packed) {
			num, rec = n, b
			return false, nil
		}
		return true, nil
	})
	return num, rec, err
}

// nodeID returns the ID of the node of a number.
func (d *disk) nodeID(num uint64) (string, error) {
	r := reader{b: d.record(num)}
	id := r.string()
	if r.bad {
		return "", errors.New("a link leads nowhere")
	}
	return id, nil
}

// hasBacklink says whether the record of node dst, rec, has a link from src.
func (d *disk) hasBacklink(dst uint64, rec []byte, src, h uint64, packed []byte) (bool, error) {
	r := reader{b: rec}
	r.packed()
	r.skipResults()
	n, more := r.count()
	for range n {
		if from := r.uvarint(); bytes.Equal(r.packedLink(), packed) && from == src {
			return true, nil
		}
	}
	if r.bad {
		return false, errFormat
	}
	if !more {
		return false, nil
	}
	r.b = d.bucket(backlinks).Get(backlinkKey(d.key[:0], dst, src, h))
	for len(r.b) > 0 {
		if bytes.Equal(r.packedLink(), packed) {
			return true, nil
		}
	}
	if r.bad {
		return false, errFormat
	}
	return false, nil
}

// eachTarget visits the targets of the links of node src that equal link.
func (d *disk) eachTarget(src uint64, link solver.CacheInfoLink, fn func(id string)) error {
	var room [128]byte
	packed := appendLink(room[:0], link)
	h := d.hash.link(link)
	prefix := appendHash(appendNum(make([]byte, 0, 32), src), h)
	return d.scan(links, prefix, prefix, func(k, _ []byte) (bool, error) {
		dst, _, ok := takeNum(k[len(prefix):])
		if !ok {
			return false, errKey
		}
		rec := d.record(dst)
		has, err := d.hasBacklink(dst, rec, src, h, packed)
		if err != nil || !has {
			return true, err
		}
		r := reader{b: rec}
		fn(r.string())
		return true, nil
	})
}

// eachBacklink visits the links to a node, those of one source in a row or not.
func (d *disk) eachBacklink(dst uint64, rec []byte, fn func(src uint64, link []byte) error) error {
	r := reader{b: rec}
	r.packed()
	r.skipResults()
	n, more := r.count()
	for range n {
		src, link := r.uvarint(), r.packedLink()
		if r.bad {
			break
		}
		if err := fn(src, link); err != nil {
			return err
		}
	}
	if r.bad {
		return errFormat
	}
	if !more {
		return nil
	}
	prefix := appendNum(make([]byte, 0, 16), dst)
	return d.scan(backlinks, prefix, prefix, func(k, v []byte) (bool, error) {
		_, src, _, ok := takeBacklinkKey(k)
		if !ok {
			return false, errKey
		}
		list, err := decodeLinks(v)
		if err != nil {
			return false, err
		}
		for _, link := range list {
			if err := fn(src, link); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}

// eachResult visits the results of a node until fn returns false. Those that
// are not inline begin at the key from, if it is not nil.
func (d *disk) eachResult(num uint64, rec, from []byte, fn func(key []byte, res solver.CacheResult) bool) error {
	r := reader{b: rec}
	r.packed()
	n, more := r.count()
	for range n {
		res := r.result()
		if r.bad {
			return errFormat
		}
		if !fn(nil, res) {
			return nil
		}
	}
	if !more {
		return nil
	}
	prefix := appendNum(make([]byte, 0, 16), num)
	if from == nil {
		from = prefix
	}
	return d.scan(results, prefix, from, func(k, v []byte) (bool, error) {
		list, err := decodeResults(v)
		for _, res := range list {
			if !fn(k, res) {
				return false, err
			}
		}
		return true, err
	})
}

// result returns one result of a node, or solver.ErrNotFound.
func (d *disk) result(num uint64, rec []byte, id string) (solver.CacheResult, error) {
	r := reader{b: rec}
	r.packed()
	n, more := r.count()
	for range n {
		if res := r.result(); !r.bad && res.ID == id {
			return res, nil
		}
	}
	if r.bad {
		return solver.CacheResult{}, errFormat
	}
	if more {
		if v := d.bucket(results).Get(numHashKey(d.key[:0], num, d.hash.name(id))); v != nil {
			list, err := decodeResults(v)
			for _, res := range list {
				if res.ID == id {
					return res, nil
				}
			}
			if err != nil {
				return solver.CacheResult{}, err
			}
		}
	}
	return solver.CacheResult{}, solver.ErrNotFound
}

// eachHolder visits the nodes that hold a result.
func (d *disk) eachHolder(resultID string, fn func(num uint64, rec []byte) error) error {
	prefix := appendHash(make([]byte, 0, 16), d.hash.name(resultID))
	return d.scan(holders, prefix, prefix, func(k, _ []byte) (bool, error) {
		num, _, ok := takeNum(k[8:])
		if !ok {
			return false, errKey
		}
		rec := d.record(num)
		_, err := d.result(num, rec, resultID)
		if errors.Is(err, solver.ErrNotFound) {
			return true, nil // another result of the same hash
		}
		if err != nil {
			return false, err
		}
		return true, fn(num, rec)
	})
}
