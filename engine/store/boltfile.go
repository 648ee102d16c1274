package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tenonbuild/tenon/engine/store/boltpages"
	bolt "go.etcd.io/bbolt"
)

// Bolt panics on files that are damaged, some of it in goroutines of its own, and
// containerd keeps its locks when it does. So files are looked at before either has
// them, and what is damaged is repaired, or replaced.

// damageOf says what is wrong with a bolt file; "" is nothing, also if there is none. A
// file that is empty is one that bolt has not begun to write.
func damageOf(path string) (string, error) {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case !fi.Mode().IsRegular():
		return "it is no regular file", nil
	case fi.Size() == 0:
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	first, count := "", 0
	err = boltpages.Check(f, func(text string) {
		if count++; count == 1 {
			first = text
		}
	})
	var damage *boltpages.Damage
	switch {
	case errors.As(err, &damage):
		return damage.Detail, nil
	case err != nil:
		return "", fmt.Errorf("%s: %w", path, err)
	case count > 1:
		first = fmt.Sprintf("%s, and %d more faults", first, count-1)
	}
	return first, nil
}

// mendBolt makes of a damaged bolt file one that is sound, of what can be read of it,
// and puts the damaged one aside: it returns where that is.
func mendBolt(path string) (aside string, err error) {
	fresh := path + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return "", err
	}
	if err := salvage(path, fresh); err != nil {
		return "", errors.Join(fmt.Errorf("%s cannot be repaired: %w", path, err), os.RemoveAll(fresh))
	}
	// The damaged one gets a second name before it loses its own, so that there is a file at
	// every moment. A directory cannot have two, and nothing was read from it.
	aside = asideName(path)
	if os.Link(path, aside) != nil {
		if err := os.Rename(path, aside); err != nil {
			return "", err
		}
	}
	return aside, os.Rename(fresh, path)
}

// setAside renames a file that is damaged, or whatever is in its place, and returns its
// new name.
func setAside(path string) (string, error) {
	to := asideName(path)
	return to, os.Rename(path, to)
}

func asideName(path string) string {
	return path + damagedMark + time.Now().UTC().Format("20060102T150405.000000000Z")
}

// salvage makes a bolt file of what can be read of another. There may be nothing.
func salvage(from, to string) (err error) {
	db, err := bolt.Open(to, 0o600, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	fi, err := os.Lstat(from)
	if err != nil || !fi.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return db.Update(func(tx *bolt.Tx) error {
		err := boltpages.Walk(f, &copier{tx: tx})
		if errors.As(err, new(*boltpages.Damage)) {
			return nil
		}
		return err
	})
}

// copier writes what it is told into another file. What bolt refuses is left out: a
// key that is too long, one that is a bucket, too.
type copier struct {
	tx *bolt.Tx
	// path is that of bucket, the last one.
	path   [][]byte
	bucket *bolt.Bucket
}

func (c *copier) Bucket(path [][]byte, sequence uint64) {
	if b := c.find(path); b != nil && b.Sequence() < sequence {
		_ = b.SetSequence(sequence) // fails only outside of a transaction
	}
}

func (c *copier) Key(path [][]byte, key, value []byte) {
	if b := c.find(path); b != nil {
		_ = b.Put(bytes.Clone(key), bytes.Clone(value))
	}
}

// find finds or makes a bucket; nil if it cannot be.
func (c *copier) find(path [][]byte) *bolt.Bucket {
	same := func(i int) bool { return bytes.Equal(c.path[i], path[i]) }
	if len(path) == len(c.path) && c.bucket != nil {
		i := len(path)
		for i > 0 && same(i-1) {
			i--
		}
		if i == 0 {
			return c.bucket
		}
	}
	c.path, c.bucket = nil, nil
	var at interface {
		CreateBucketIfNotExists([]byte) (*bolt.Bucket, error)
	} = c.tx
	for _, name := range path {
		name = bytes.Clone(name)
		b, err := at.CreateBucketIfNotExists(name)
		if err != nil {
			return nil
		}
		c.path, c.bucket, at = append(c.path, name), b, b
	}
	return c.bucket
}

// withBolt calls fn with a transaction of a bolt file in which damageOf has found
// nothing, for reading or for writing. A panic of fn, or of bolt, is an error.
func withBolt(path string, write bool, fn func(*bolt.Tx) error) (err error) {
	var file *os.File
	opt := &bolt.Options{
		Timeout: 10 * time.Second, ReadOnly: !write, NoStatistics: true, FreelistType: bolt.FreelistMapType,
		OpenFile: func(name string, flag int, perm os.FileMode) (_ *os.File, err error) {
			file, err = os.OpenFile(name, flag, perm)
			return file, err
		},
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%s: %w: %v", path, errDamaged, v)
			if file != nil {
				err = errors.Join(err, file.Close()) // which gives up its lock
			}
		}
	}()
	db, err := bolt.Open(path, 0o600, opt)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if write {
		err = db.Update(fn)
	} else {
		err = db.View(fn)
	}
	return errors.Join(err, db.Close())
}

// errDamaged says of a file that its damage was seen late.
var errDamaged = errors.New("it is damaged")

// damagedMark is in the names of files that were put aside, before the time.
const damagedMark = ".damaged-"

// damagedFiles are the files that were put aside, as a Kept.
type damagedFiles struct{ root string }

// List implements Kept.
func (d damagedFiles) List(context.Context) ([]UsageInfo, error) {
	var all []UsageInfo
	for _, dir := range []string{"", overlayName, nativeName, stateDir, contentDir, filepath.Join(contentDir, "blobs")} {
		entries, err := os.ReadDir(filepath.Join(d.root, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			fi, err := e.Info()
			if err != nil || !strings.Contains(e.Name(), damagedMark) {
				continue
			}
			name := filepath.Join(d.root, dir, e.Name())
			size, err := SizeOf(name)
			if err != nil {
				return nil, err
			}
			all = append(all, UsageInfo{
				ID: filepath.Join(dir, e.Name()), Type: TypeDamaged, Description: "damaged file, put aside: " + name, Size: size,
				CreatedAt: fi.ModTime(), LastUsedAt: fi.ModTime(),
			})
		}
	}
	return all, nil
}

// Remove implements Kept.
func (d damagedFiles) Remove(_ context.Context, id string) (bool, error) {
	if !filepath.IsLocal(id) {
		return false, nil
	}
	return true, os.RemoveAll(filepath.Join(d.root, id))
}
