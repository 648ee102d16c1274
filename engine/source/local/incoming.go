package local

import (
	"errors"
	"hash"
	"os"
	"path/filepath"

	"github.com/tenonbuild/tenon/engine/contenthash"
)

// small is how many bytes of a file are kept until all of it has come. A smaller one is
// written at once, beside others.
const small = 32 << 10

// incoming is a file that is sent. Whoever sends it writes it, and closes it when it is
// whole.
type incoming struct {
	to   *arrival
	file *found

	kept []byte // what has come of it, while that is small
	disk *os.File
	hash hash.Hash
	size int64
}

// Write implements io.Writer.
func (f *incoming) Write(p []byte) (int, error) {
	if f.disk == nil && len(f.kept)+len(p) <= small {
		f.kept = append(f.kept, p...)
		return len(p), nil
	}
	if f.disk == nil {
		if err := f.place(); err != nil {
			return 0, err
		}
	}
	return len(p), f.append(p)
}

// place begins to write the file.
func (f *incoming) place() error {
	if err := f.to.room(f.file); err != nil {
		return err
	}
	return f.create()
}

func (f *incoming) create() (err error) {
	f.hash = f.file.node.Entry.ContentHash()
	if f.disk, err = createFile(f.path()); err != nil {
		return err
	}
	kept := f.kept
	f.kept = nil
	return f.append(kept)
}

func (f *incoming) append(p []byte) error {
	f.hash.Write(p)
	f.size += int64(len(p))
	_, err := f.disk.Write(p)
	return err
}

func (f *incoming) path() string { return filepath.Join(f.to.to, f.file.path) }

// Close implements io.Closer.
func (f *incoming) Close() error {
	delete(f.to.open, f)
	if f.disk == nil {
		if held, err := f.to.hold(f.file, f.kept); held || err != nil {
			return err
		}
		if err := f.to.room(f.file); err != nil {
			return err
		}
	}
	f.to.there[f.file.path] = true
	if f.disk == nil {
		f.to.writing.Go(f.whole)
		return nil
	}
	return f.finish()
}

// whole writes a small file.
func (f *incoming) whole() error {
	f.file.node.Entry.Size = int64(len(f.kept)) // whatever was said of it
	if err := f.create(); err != nil {
		return errors.Join(err, f.discard())
	}
	return f.finish()
}

// finish makes all of the file known, and sets what it has beside its bytes.
func (f *incoming) finish() error {
	e := &f.file.node.Entry
	e.Content = contenthash.Sum(f.hash.Sum(nil))
	err := f.disk.Close()
	if err == nil && f.size != e.Size {
		err = f.again()
	}
	if err != nil {
		return err
	}
	return finish(f.path(), f.file)
}

// again hashes a file that is of another size than was said: it has changed meanwhile, and
// its sum is of its size, too.
func (f *incoming) again() (err error) {
	file, err := os.Open(f.path())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	e := &f.file.node.Entry
	e.Size = f.size
	_, e.Content, err = e.SumContent(f.to.ctx, file)
	return err
}

func (f *incoming) discard() error {
	if f.disk == nil {
		return nil
	}
	return f.disk.Close()
}
