package boltpages_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenonbuild/tenon/engine/store/boltpages"
	bolt "go.etcd.io/bbolt"
)

var seeds = flag.Int("boltpages.seeds", 40, "how many random files and damages there are")

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// check returns the faults of a file.
func check(t *testing.T, path string) (found []string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	err = boltpages.Check(f, func(text string) { found = append(found, text) })
	if errors.As(err, new(*boltpages.Damage)) {
		return append(found, err.Error())
	}
	must(t, err)
	return found
}

// change makes random changes in one transaction.
func change(rng *rand.Rand, n int) func(*bolt.Tx) error {
	return func(tx *bolt.Tx) error {
		for range n {
			b, err := tx.CreateBucketIfNotExists(fmt.Append(nil, "bucket ", rng.IntN(3)))
			if err != nil {
				return err
			}
			if rng.IntN(2) == 0 {
				if b, err = b.CreateBucketIfNotExists(fmt.Append(nil, "inner ", rng.IntN(20))); err != nil {
					return err
				}
			}
			key := fmt.Append(nil, "key ", rng.IntN(400))
			if b.Bucket(key) != nil {
				continue
			}
			if rng.IntN(3) == 0 {
				err = b.Delete(key)
			} else {
				err = b.Put(key, bytes.Repeat([]byte("v"), rng.IntN(1<<rng.IntN(13))))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// What bolt writes has no fault, and all of it is read.
func TestSound(t *testing.T) {
	for seed := range uint64(*seeds) {
		rng := rand.New(rand.NewPCG(seed, 1))
		path := filepath.Join(t.TempDir(), "db")
		db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: seed%2 == 0})
		must(t, err)
		for range 1 + rng.IntN(30) {
			must(t, db.Update(change(rng, rng.IntN(300))))
			if found := check(t, path); len(found) > 0 {
				t.Fatalf("seed %d: %q", seed, found)
			}
		}
		f, err := os.Open(path)
		must(t, err)
		got := reader{}
		must(t, boltpages.Walk(f, got))
		want := reader{}
		must(t, db.View(func(tx *bolt.Tx) error {
			return tx.ForEach(func(name []byte, b *bolt.Bucket) error { return want.all([][]byte{name}, b) })
		}))
		if len(got) != len(want) {
			t.Fatalf("seed %d: %d keys, want %d", seed, len(got), len(want))
		}
		for k, v := range want {
			if got[k] != v {
				t.Fatalf("seed %d: %s is %q, want %q", seed, k, got[k], v)
			}
		}
		must(t, errors.Join(f.Close(), db.Close()))
	}
}

// reader is what a file holds, by path.
type reader map[string]string

func (r reader) Bucket(path [][]byte, sequence uint64) {
	r[fmt.Sprintf("%q", path)] = fmt.Sprint("bucket ", sequence)
}

func (r reader) Key(path [][]byte, key, value []byte) {
	r[fmt.Sprintf("%q %q", path, key)] = string(value)
}

func (r reader) all(path [][]byte, b *bolt.Bucket) error {
	r.Bucket(path, b.Sequence())
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return r.all(append(path[:len(path):len(path)], k), b.Bucket(k))
		}
		r.Key(path, k, v)
		return nil
	})
}

// Bolt can use what has no fault, whatever bytes have been changed, and what it makes of
// it has none, either. What has faults is read without a panic and without end.
func TestDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
	must(t, err)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 10 {
		must(t, db.Update(change(rng, 300)))
	}
	must(t, db.Close())
	sound, err := os.ReadFile(path)
	must(t, err)
	found := 0
	for seed := range uint64(*seeds) * 4 {
		rng := rand.New(rand.NewPCG(seed, 2))
		dt := bytes.Clone(sound)
		for range 1 << rng.IntN(4) {
			// Heads of pages have the most to say.
			at := rng.IntN(len(dt))
			if rng.IntN(2) == 0 {
				at = at&^4095 + rng.IntN(300)
			}
			dt[at%len(dt)] ^= byte(1 << rng.IntN(8))
		}
		must(t, os.WriteFile(path, dt, 0o600))
		faults := check(t, path)
		f, err := os.Open(path)
		must(t, err)
		if err := boltpages.Walk(f, reader{}); err != nil && !errors.As(err, new(*boltpages.Damage)) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		must(t, f.Close())
		if len(faults) > 0 {
			found++
			continue
		}
		db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
		must(t, err)
		for range 3 {
			if err := db.Update(change(rng, 300)); err != nil {
				continue // a key has become a bucket's name, say
			}
			if faults := check(t, path); len(faults) > 0 {
				t.Fatalf("seed %d: what was changed has faults: %q", seed, faults)
			}
		}
		must(t, db.Close())
	}
	if found < *seeds {
		t.Errorf("faults were found in %d of %d files", found, *seeds*4)
	}
}
