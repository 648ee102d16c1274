package store

import (
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	"github.com/opencontainers/go-digest"
	bolt "go.etcd.io/bbolt"
)

// What containerd writes has no checksums, and one entry that it cannot decode fails
// each of its lists. So entries that nobody could use are removed before it sees them.
// The layout is that of core/metadata/buckets.go.

// entryKinds are what is in our namespace: where, and whether an entry can be used.
var entryKinds = []struct {
	path   []string
	usable func(*bolt.Bucket) bool
}{
	{[]string{"images"}, usableImage},
	{[]string{"leases"}, usableTimes},
	{[]string{"content", "blob"}, usableTimes},
	// What is being written when a process dies is begun again.
	{[]string{"content", "ingests"}, func(*bolt.Bucket) bool { return false }},
}

// scrubMetadata calls drop for all that cannot be used: for the bucket that it is in, and
// its key.
func scrubMetadata(tx *bolt.Tx, snapshotter string, drop func(in *bolt.Bucket, key []byte)) error {
	v1 := tx.Bucket([]byte("v1"))
	if v1 == nil {
		return nil
	}
	if err := keepOnly(v1, drop, namespace); err != nil {
		return err
	}
	ns := v1.Bucket([]byte(namespace))
	if ns == nil {
		return nil
	}
	if err := keepOnly(ns, drop, "labels", "images", "leases", "content", "snapshots"); err != nil {
		return err
	}
	if sn := ns.Bucket([]byte("snapshots")); sn != nil {
		if err := keepOnly(sn, drop, snapshotter); err != nil {
			return err
		}
	}
	for _, kind := range entryKinds {
		b := bucketAt(ns, kind.path...)
		if b == nil {
			continue
		}
		err := b.ForEachBucket(func(k []byte) error {
			if !kind.usable(b.Bucket(k)) || kind.path[0] == "content" && kind.path[1] == "blob" && digest.Digest(k).Validate() != nil {
				drop(b, k)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// keepOnly drops the buckets of other names.
func keepOnly(in *bolt.Bucket, drop func(*bolt.Bucket, []byte), names ...string) error {
	return in.ForEachBucket(func(k []byte) error {
		if !slices.Contains(names, string(k)) {
			drop(in, k)
		}
		return nil
	})
}

func bucketAt(in *bolt.Bucket, names ...string) *bolt.Bucket {
	for _, name := range names {
		if in == nil {
			return nil
		}
		in = in.Bucket([]byte(name))
	}
	return in
}

// usableTimes says whether what all entries have can be decoded.
func usableTimes(b *bolt.Bucket) bool {
	var created, updated time.Time
	if boltutil.ReadTimestamps(b, &created, &updated) != nil {
		return false
	}
	labels := b.Bucket([]byte("labels"))
	return labels == nil || labels.ForEachBucket(func([]byte) error { return errDamaged }) == nil
}

func usableImage(b *bolt.Bucket) bool {
	target := b.Bucket([]byte("target"))
	return usableTimes(b) && target != nil && digest.Digest(target.Get([]byte("digest"))).Validate() == nil
}
