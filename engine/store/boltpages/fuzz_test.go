package boltpages_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenonbuild/tenon/engine/store/boltpages"
	bolt "go.etcd.io/bbolt"
)

// boltFile is what bolt makes of random changes.
func boltFile(t testing.TB, seed uint64) []byte {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, PageSize: 1024, NoFreelistSync: seed%2 == 0})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(seed, 2))
	for range 4 {
		err = errors.Join(err, db.Update(change(rng, 40)))
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzPages: whatever is changed in a file, behind its meta pages, reading it ends. If no
// fault is found, bolt can open, read and write the file. An edit is a place (3 bytes) and
// what is there then.
func FuzzPages(f *testing.F) {
	files := [][]byte{boltFile(f, 0), boltFile(f, 1)}
	f.Add(uint8(0), []byte{0, 8, 8, 1})
	f.Add(uint8(1), []byte{0, 8, 10, 255, 0, 12, 10, 3})
	f.Fuzz(func(t *testing.T, which uint8, edits []byte) {
		data := bytes.Clone(files[int(which)%len(files)])
		for ; len(edits) >= 4; edits = edits[4:] {
			at := int(edits[0])<<16 | int(edits[1])<<8 | int(edits[2])
			data[2048+at%(len(data)-2048)] = edits[3]
		}
		path := filepath.Join(t.TempDir(), "db")
		must(t, os.WriteFile(path, data, 0o600))
		found := check(t, path)
		file, err := os.Open(path)
		must(t, err)
		must(t, boltpages.Walk(file, reader{}))
		must(t, file.Close())
		if len(found) > 0 {
			return
		}
		db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
		must(t, err)
		got := reader{}
		must(t, db.View(func(tx *bolt.Tx) error {
			return tx.ForEach(func(name []byte, b *bolt.Bucket) error { return got.all([][]byte{name}, b) })
		}))
		must(t, db.Update(change(rand.New(rand.NewPCG(3, 3)), 40)))
		must(t, db.Close())
	})
}

// Elements that share their bytes, and buckets within buckets, would have been read again
// and again: twice as often with each of the buckets that follow in one another's values.
func TestPagesThatRepeat(t *testing.T) {
	order := binary.NativeEndian
	header := func(id, count int) []byte {
		b := make([]byte, 16)
		order.PutUint64(b, uint64(id))
		order.PutUint16(b[8:], 2) // a leaf
		order.PutUint16(b[10:], uint16(count))
		return b
	}
	elem := func(kind, off, klen, vlen int) (b []byte) {
		for _, n := range []int{kind, off, klen, vlen} {
			b = order.AppendUint32(b, uint32(n))
		}
		return b
	}
	// nested is a leaf with two buckets, "ab" and "b", that have the same value: nested
	// again, and so on.
	var nested func(id, depth int) []byte
	nested = func(id, depth int) []byte {
		if depth == 0 {
			return header(id, 0)
		}
		value := append(make([]byte, 16), nested(0, depth-1)...)
		b := append(header(id, 2), elem(1, 32, 2, len(value))...)
		b = append(b, elem(1, 17, 1, len(value))...)
		return append(append(b, "ab"...), value...)
	}
	// overlap is a leaf with 30 keys that each are all that follows.
	overlap := func(id int) []byte {
		b := header(id, 30)
		for i := range 30 {
			b = append(b, elem(0, 16*(30-i)+i, 400-i, 0)...)
		}
		for i := range 400 {
			b = append(b, byte(1+i/2))
		}
		return b
	}
	data := boltFile(t, 1)
	path := filepath.Join(t.TempDir(), "db")
	meta, err := boltpages.ReadMeta(bytes.NewReader(data), int64(len(data)))
	must(t, err)
	for name, page := range map[string][]byte{"nested": nested(int(meta.Root), 14), "overlap": overlap(int(meta.Root))} {
		changed := bytes.Clone(data)
		at := changed[meta.Root*meta.PageSize:][:meta.PageSize]
		clear(at)
		if copy(at, page) < len(page) {
			t.Fatalf("%s: %d bytes are more than a page", name, len(page))
		}
		must(t, os.WriteFile(path, changed, 0o600))
		if found := strings.Join(check(t, path), "\n"); !strings.Contains(found, "of no kind that can be there") && !strings.Contains(found, "they overlap") {
			t.Errorf("%s: the faults are %s", name, found)
		}
		f, err := os.Open(path)
		must(t, err)
		c := &count{}
		must(t, boltpages.Walk(f, c))
		must(t, f.Close())
		if c.calls > 40 {
			t.Errorf("%s: told of %d things", name, c.calls)
		}
	}
}

// count counts what it is told.
type count struct{ calls int }

func (c *count) Bucket([][]byte, uint64)     { c.calls++ }
func (c *count) Key(_ [][]byte, _, _ []byte) { c.calls++ }
