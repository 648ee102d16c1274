package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	bolt "go.etcd.io/bbolt"
)

// mender makes the files of a root fit together before they are opened, whatever a
// process, a machine or a disk has done to them.
type mender struct {
	root, snapshotter string
	// tell says to people what was found.
	tell func(text string)

	// sound are the snapshots there are, by key.
	sound map[string]snapshots.Kind
	// changed says that there was something to be mended: then not all of what is left
	// can be held by what should hold it.
	changed bool
}

func (m *mender) metadataFile() string { return filepath.Join(m.root, "metadata.db") }

func (m *mender) snapshotterFile() string {
	return filepath.Join(m.root, m.snapshotter, "metadata.db")
}

// run mends the files. What it finds sound costs one reading of them.
func (m *mender) run() error {
	for _, path := range []string{m.metadataFile(), m.snapshotterFile()} {
		if err := m.file(path); err != nil {
			return err
		}
	}
	err := m.entries()
	if err == nil || !errors.Is(err, errDamaged) {
		return err
	}
	// Pages are in order, and bolt fails on them all the same.
	for _, path := range []string{m.metadataFile(), m.snapshotterFile()} {
		aside, e := setAside(path)
		if errors.Is(e, fs.ErrNotExist) {
			continue
		}
		if e != nil {
			return errors.Join(err, e)
		}
		m.changed = true
		m.tell(fmt.Sprintf("%s is damaged (%v). It was moved to %s, and nothing of it could be kept", path, err, aside))
	}
	return m.entries()
}

// file repairs a bolt file that is damaged.
func (m *mender) file(path string) error {
	if err := os.RemoveAll(path + ".new"); err != nil { // by a process that died
		return err
	}
	what, err := damageOf(path)
	if err != nil || what == "" {
		return errors.Join(err, m.missing(path))
	}
	aside, err := mendBolt(path)
	if err != nil {
		return err
	}
	m.changed = true
	m.tell(fmt.Sprintf("%s is damaged (%s). It was moved to %s, and what could be read of it is kept", path, what, aside))
	return nil
}

// missing says of containerd's metadata if there is none, where there should be: beside
// snapshots. That of a snapshotter is made with the first of them.
func (m *mender) missing(path string) error {
	if path != m.metadataFile() {
		return nil
	}
	if fi, err := os.Stat(path); err == nil && fi.Size() > 0 {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(m.snapshotterFile()); err != nil {
		return ifThere(err)
	}
	m.changed = true
	m.tell(fmt.Sprintf("%s is missing, or empty: nothing of what builds have left can be used", path))
	return nil
}

// readBolt reads a bolt file, unless there is none yet.
func readBolt(path string, fn func(*bolt.Tx) error) error {
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && fi.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return withBolt(path, false, fn)
}

// entries removes the entries of the files that nobody could use.
func (m *mender) entries() error {
	s := &shelf{names: map[string]nameEntry{}, there: snapshotThere(filepath.Join(m.root, m.snapshotter), m.snapshotter)}
	unusable := 0
	err := readBolt(m.metadataFile(), func(tx *bolt.Tx) error {
		s.keys = readKeys(tx, m.snapshotter)
		return scrubMetadata(tx, m.snapshotter, func(*bolt.Bucket, []byte) { unusable++ })
	})
	if err != nil {
		return err
	}
	err = readBolt(m.snapshotterFile(), s.readNames)
	if err != nil {
		return err
	}
	m.sound = s.sound()
	keep := map[string]nameEntry{}
	last := uint64(0)
	for key := range m.sound {
		name := s.keys[key].name
		keep[name] = s.names[name]
	}
	for _, n := range s.names {
		if !n.bad {
			last = max(last, n.id)
		}
	}
	if unusable > 0 || len(m.sound) < len(s.keys) {
		m.changed = true
		if err := withBolt(m.metadataFile(), true, m.dropEntries); err != nil {
			return err
		}
	}
	if len(keep) == len(s.names) && s.sequence >= last && !s.partial {
		return nil
	}
	m.changed = true
	return withBolt(m.snapshotterFile(), true, func(tx *bolt.Tx) error { return dropNames(tx, keep, last) })
}

// dropEntries takes what cannot be used out of containerd's metadata.
func (m *mender) dropEntries(tx *bolt.Tx) error {
	type entry struct {
		in  *bolt.Bucket
		key []byte
	}
	var list []entry // nothing may be changed while it is walked
	err := scrubMetadata(tx, m.snapshotter, func(in *bolt.Bucket, key []byte) {
		list = append(list, entry{in, bytes.Clone(key)})
	})
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := e.in.DeleteBucket(e.key); err != nil {
			return err
		}
	}
	return dropKeys(tx, m.snapshotter, m.sound)
}
