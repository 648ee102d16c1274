package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/containerd/containerd/v2/core/snapshots"
	bolt "go.etcd.io/bbolt"
)

// A snapshot is known in three places: by its key in containerd's metadata, which has
// the name that the snapshotter knows it by; by that name in the snapshotter's own file,
// which has a number; and by that number on the disk. When a process or a machine dies,
// or a file is damaged or lost, they may differ. Then only what all three agree on is a
// snapshot.

// shelf is what the two files say, and what is on the disk.
type shelf struct {
	keys  map[string]keyEntry  // by key
	names map[string]nameEntry // by name
	there func(id uint64) bool
	// sequence is the last number that was given, as far as is known.
	sequence uint64
	// partial says that the snapshotter's file lacks what it should have whenever it has
	// anything, or has what it should not.
	partial bool
}

// keyEntry is an entry of containerd's metadata. One that cannot be decoded has no name.
type keyEntry struct{ name, parent string }

// nameEntry is one of the snapshotter's. It may be one that cannot be decoded.
type nameEntry struct {
	id     uint64
	parent string
	kind   snapshots.Kind
	bad    bool
}

// sound returns the snapshots, by key, that all three places agree on, as do their
// parents.
func (s *shelf) sound() map[string]snapshots.Kind {
	count := map[uint64]int{}
	for _, n := range s.names {
		if !n.bad {
			count[n.id]++
		}
	}
	uses := map[string]int{}
	children := map[string][]string{} // by parent
	for key, k := range s.keys {
		uses[k.name]++
		children[k.parent] = append(children[k.parent], key)
	}
	found := map[string]snapshots.Kind{}
	todo := children[""]
	for len(todo) > 0 {
		key := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		k := s.keys[key]
		n, ok := s.names[k.name]
		if !ok || n.bad || uses[k.name] > 1 || count[n.id] > 1 || n.parent != s.keys[k.parent].name || !s.there(n.id) {
			continue
		}
		if k.parent != "" && found[k.parent] != snapshots.KindCommitted {
			continue
		}
		found[key] = n.kind
		todo = append(todo, children[key]...)
	}
	return found
}

// bucketKeys is where the keys of a snapshotter are.
func bucketKeys(tx *bolt.Tx, snapshotter string) *bolt.Bucket {
	if v1 := tx.Bucket([]byte("v1")); v1 != nil {
		return bucketAt(v1, namespace, "snapshots", snapshotter)
	}
	return nil
}

// bucketNames is a bucket of a snapshotter's own file.
func bucketNames(tx *bolt.Tx, name string) *bolt.Bucket {
	if v1 := tx.Bucket([]byte("v1")); v1 != nil {
		return v1.Bucket([]byte(name))
	}
	return nil
}

// readKeys reads containerd's metadata.
func readKeys(tx *bolt.Tx, snapshotter string) map[string]keyEntry {
	all := map[string]keyEntry{}
	b := bucketKeys(tx, snapshotter)
	if b == nil {
		return all
	}
	_ = b.ForEachBucket(func(k []byte) error { // fn has no errors
		e := b.Bucket(k)
		entry := keyEntry{parent: string(e.Get([]byte("parent")))}
		if usableTimes(e) {
			entry.name = string(e.Get([]byte("name")))
		}
		all[string(k)] = entry
		return nil
	})
	return all
}

// readNames reads a snapshotter's file.
func (s *shelf) readNames(tx *bolt.Tx) error {
	stray := func(*bolt.Bucket, []byte) { s.partial = true }
	err := tx.ForEach(func(name []byte, _ *bolt.Bucket) error {
		if string(name) != "v1" {
			stray(nil, name)
		}
		return nil
	})
	if v1 := tx.Bucket([]byte("v1")); v1 != nil && err == nil {
		s.partial = s.partial || v1.Bucket([]byte("snapshots")) == nil || v1.Bucket([]byte("parents")) == nil
		err = keepOnly(v1, stray, "snapshots", "parents")
	}
	b := bucketNames(tx, "snapshots")
	if b == nil || err != nil {
		return err
	}
	s.sequence = b.Sequence()
	return b.ForEachBucket(func(k []byte) error {
		e := b.Bucket(k)
		n := nameEntry{parent: string(e.Get([]byte("parent")))}
		id := e.Get([]byte("id"))
		var used int
		n.id, used = binary.Uvarint(id)
		kind := e.Get([]byte("kind"))
		if len(kind) == 1 {
			n.kind = snapshots.Kind(kind[0])
		}
		n.bad = used <= 0 || used != len(id) || n.kind < snapshots.KindView || n.kind > snapshots.KindCommitted || !usableTimes(e)
		s.names[string(k)] = n
		return nil
	})
}

// snapshotThere says whether a snapshot of a snapshotter's directory is on the disk.
func snapshotThere(dir, snapshotter string) func(uint64) bool {
	below := ""
	if snapshotter == overlayName {
		below = "fs"
	}
	return func(id uint64) bool {
		fi, err := os.Lstat(filepath.Join(dir, "snapshots", strconv.FormatUint(id, 10), below))
		return err == nil && fi.IsDir()
	}
}

// dropKeys removes entries of containerd's metadata, all but those that are sound.
func dropKeys(tx *bolt.Tx, snapshotter string, sound map[string]snapshots.Kind) error {
	b := bucketKeys(tx, snapshotter)
	if b == nil {
		return nil
	}
	var drop [][]byte
	err := b.ForEachBucket(func(k []byte) error {
		if _, ok := sound[string(k)]; !ok {
			drop = append(drop, bytes.Clone(k))
		}
		return nil
	})
	for _, k := range drop {
		if parent := b.Bucket(b.Bucket(k).Get([]byte("parent"))); parent != nil {
			if children := parent.Bucket([]byte("children")); children != nil {
				if err := children.Delete(k); err != nil {
					return err
				}
			}
		}
		if err := b.DeleteBucket(k); err != nil {
			return err
		}
	}
	return err
}

// dropNames removes entries of a snapshotter's file, all but those of names, and sees to
// it that no number is given twice.
func dropNames(tx *bolt.Tx, keep map[string]nameEntry, sequence uint64) error {
	var strays [][]byte
	err := tx.ForEach(func(name []byte, _ *bolt.Bucket) error {
		if string(name) != "v1" {
			strays = append(strays, bytes.Clone(name))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range strays {
		if err := tx.DeleteBucket(name); err != nil {
			return err
		}
	}
	v1 := tx.Bucket([]byte("v1"))
	if v1 == nil {
		return nil
	}
	strays = nil
	if err := keepOnly(v1, func(_ *bolt.Bucket, k []byte) { strays = append(strays, bytes.Clone(k)) }, "snapshots", "parents"); err != nil {
		return err
	}
	for _, name := range strays {
		if err := v1.DeleteBucket(name); err != nil {
			return err
		}
	}
	b, err := v1.CreateBucketIfNotExists([]byte("snapshots"))
	if err != nil {
		return err
	}
	links, err := v1.CreateBucketIfNotExists([]byte("parents"))
	if err != nil {
		return err
	}
	var drop [][]byte
	err = b.ForEachBucket(func(k []byte) error {
		if _, ok := keep[string(k)]; !ok {
			drop = append(drop, bytes.Clone(k))
		}
		return nil
	})
	for _, k := range drop {
		if err := b.DeleteBucket(k); err != nil {
			return err
		}
	}
	if b.Sequence() < sequence {
		if err := b.SetSequence(sequence); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return dropParents(links, keep)
}

// dropParents removes links between snapshots of which one is not there.
func dropParents(links *bolt.Bucket, keep map[string]nameEntry) error {
	want := map[string]string{}
	for name, n := range keep {
		if n.parent != "" {
			key := append(binary.AppendUvarint(nil, keep[n.parent].id), 0)
			want[string(binary.AppendUvarint(key, n.id))] = name
		}
	}
	var drop [][]byte
	err := links.ForEach(func(k, v []byte) error {
		if name, ok := want[string(k)]; ok && name == string(v) {
			delete(want, string(k))
		} else {
			drop = append(drop, bytes.Clone(k))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range drop {
		if err := links.Delete(k); err != nil {
			return err
		}
	}
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if err := links.Put([]byte(k), []byte(want[k])); err != nil {
			return fmt.Errorf("parents: %w", err)
		}
	}
	return nil
}
