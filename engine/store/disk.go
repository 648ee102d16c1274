package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
)

// Our buckets in the file of containerd's metadata, so that a record and its lease
// are written in one transaction:
//
//	tenon
//	├── records   ID → facts, as JSON
//	└── values    ID → a bucket: key → a checksum (4 bytes), and the value
var (
	bucketTenon   = []byte("tenon")
	bucketRecords = []byte("records")
	bucketValues  = []byte("values")
)

// update runs fn in a write transaction, of which containerd's stores are part
// when they are called with fn's context. What has become dirty goes with it.
func (s *Store) update(ctx context.Context, fn func(ctx context.Context, top *bolt.Bucket) error) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	s.index.mu.Lock()
	dirty := s.index.dirty
	s.index.dirty = map[string]*record{}
	s.index.mu.Unlock()
	err := s.back.meta.Update(func(tx *bolt.Tx) error {
		top, err := tx.CreateBucketIfNotExists(bucketTenon)
		if err != nil {
			return err
		}
		for _, r := range dirty {
			if err := s.putRecord(top, r); err != nil {
				return err
			}
		}
		return fn(boltutil.WithTransaction(ctx, tx), top)
	})
	if err != nil {
		s.index.mu.Lock()
		for id, r := range dirty {
			if s.index.records[id] == r {
				s.index.dirty[id] = r
			}
		}
		s.index.mu.Unlock()
	}
	return err
}

// putRecord writes a record as it is now, if it is in the index.
func (s *Store) putRecord(top *bolt.Bucket, r *record) error {
	s.index.mu.Lock()
	if s.index.records[r.id] != r {
		s.index.mu.Unlock()
		return nil
	}
	f := r.facts
	s.index.mu.Unlock()
	return putFacts(top, r.id, f)
}

func putFacts(top *bolt.Bucket, id string, f facts) error {
	dt, err := encodeFacts(f)
	if err != nil {
		return err
	}
	records, err := top.CreateBucketIfNotExists(bucketRecords)
	if err != nil {
		return err
	}
	return records.Put([]byte(id), dt)
}

// create writes new records, parents first, each with a lease, unless it has one:
// a tree that is being written does. Then it puts them into the index. Their
// parents are held by the caller, or cannot be removed meanwhile.
func (s *Store) create(ctx context.Context, records ...*record) error {
	err := s.update(ctx, func(ctx context.Context, top *bolt.Bucket) error {
		for _, r := range records {
			if _, err := s.back.leases.Create(ctx, leases.WithID(r.id)); err != nil && !errdefs.IsAlreadyExists(err) {
				return err
			}
			if err := putFacts(top, r.id, r.facts); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record cannot be written: %w", err)
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for _, r := range records {
		s.index.insert(r)
	}
	return nil
}

// erase takes records and their leases off the disk. What the leases held is
// removed by the next garbage collection.
func (s *Store) erase(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return s.update(ctx, func(ctx context.Context, top *bolt.Bucket) error {
		for _, id := range ids {
			if b := top.Bucket(bucketRecords); b != nil {
				if err := b.Delete([]byte(id)); err != nil {
					return err
				}
			}
			if b := top.Bucket(bucketValues); b != nil && b.Bucket([]byte(id)) != nil {
				if err := b.DeleteBucket([]byte(id)); err != nil {
					return err
				}
			}
			if err := s.back.leases.Delete(ctx, leases.Lease{ID: id}); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
		return nil
	})
}

// save writes a change of a record that must not be lost. The change is made by
// fn, which has the index's lock.
func (s *Store) save(ctx context.Context, r *record, fn func(f *facts)) error {
	s.index.mu.Lock()
	fn(&r.facts)
	s.index.mu.Unlock()
	return s.update(ctx, func(_ context.Context, top *bolt.Bucket) error { return s.putRecord(top, r) })
}

// readRecords reads all records. One that cannot be read is left out, and named.
func readRecords(file *bolt.DB) (all map[string]facts, bad []string, err error) {
	all = map[string]facts{}
	err = file.View(func(tx *bolt.Tx) error {
		top := tx.Bucket(bucketTenon)
		if top == nil || top.Bucket(bucketRecords) == nil {
			return nil
		}
		return top.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
			f, err := decodeFacts(v)
			if err != nil {
				bad = append(bad, string(k))
				return nil
			}
			all[string(k)] = f
			return nil
		})
	})
	return all, bad, err
}

// Value returns what SetValue has kept under a key; nil if there is nothing.
func (r *Ref) Value(key string) (value []byte, err error) {
	rec, err := r.use()
	if err != nil || rec == nil {
		return nil, err
	}
	if rec.imagined != nil {
		r.s.index.mu.Lock()
		defer r.s.index.mu.Unlock()
		return rec.imagined[key], nil
	}
	err = r.s.back.meta.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketTenon)
		for _, name := range [][]byte{bucketValues, []byte(rec.id)} {
			if b != nil {
				b = b.Bucket(name)
			}
		}
		if b == nil {
			return nil
		}
		// What is damaged can be computed again.
		if v := b.Get([]byte(key)); len(v) >= crc32.Size && binary.BigEndian.Uint32(v) == crc32.ChecksumIEEE(v[crc32.Size:]) {
			value = append([]byte{}, v[crc32.Size:]...)
		}
		return nil
	})
	return value, err
}

// SetValue keeps a value with the record, for as long as that exists: something
// derived from the tree, such as a digest of its content. The empty tree keeps
// nothing: that is an error.
func (r *Ref) SetValue(key string, dt []byte) error {
	rec, err := r.use()
	if err != nil {
		return err
	}
	if rec == nil {
		return errors.New("the empty tree keeps no values")
	}
	if r.looks {
		return r.setImagined(key, dt)
	}
	return r.s.update(context.Background(), func(_ context.Context, top *bolt.Bucket) error {
		values, err := top.CreateBucketIfNotExists(bucketValues)
		if err != nil {
			return err
		}
		b, err := values.CreateBucketIfNotExists([]byte(rec.id))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), append(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(dt)), dt...))
	})
}
