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

	// begin says in the root that it is being mended, before anything is changed.
	begin func() error

	// sound are the snapshots there are, by key.
	sound map[string]snapshots.Kind
	// changed says that there was something to be mended, now or when a process died that
	// had begun to: then not all of what is left can be held by what should hold it.
	changed bool
}

// change is called before something is changed.
func (m *mender) change() error {
	m.changed = true
	return m.begin()
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
	if e := m.change(); e != nil {
		return errors.Join(err, e)
	}
	for _, path := range []string{m.metadataFile(), m.snapshotterFile()} {
		aside, e := setAside(path)
		if errors.Is(e, fs.ErrNotExist) {
			continue
		}
		if e != nil {
			return errors.Join(err, e)
		}
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
	if err := m.change(); err != nil {
		return err
	}
	aside, err := mendBolt(path)
	if err != nil {
		return err
	}
	m.tell(fmt.Sprintf("%s is damaged (%s). It was moved to %s, and what could be read of it is kept", path, what, aside))
	return nil
}

// missing sees to it that the name of a file lasts which is not there yet.
func (m *mender) missing(path string) error {
	if there, err := hasBolt(path); there || err != nil {
		return err
	}
	return m.change()
}

// hasBolt says whether there is a bolt file that something was written to.
func hasBolt(path string) (bool, error) {
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && fi.Size() > 0, err
}

// readBolt reads a bolt file, unless there is none yet.
func readBolt(path string, fn func(*bolt.Tx) error) error {
	if there, err := hasBolt(path); !there || err != nil {
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
	if there, err := hasBolt(m.metadataFile()); err != nil {
		return err
	} else if !there && len(s.names) > 0 {
		m.tell(fmt.Sprintf("%s is missing, or empty: nothing of what builds have left can be used", m.metadataFile()))
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
		if err := m.change(); err != nil {
			return err
		}
		if err := withBolt(m.metadataFile(), true, m.dropEntries); err != nil {
			return err
		}
	}
	if len(keep) == len(s.names) && s.sequence >= last && !s.partial {
		return nil
	}
	if err := m.change(); err != nil {
		return err
	}
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
