package history

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// newBlob is a blob that is being written. It ends with keep or drop. It is not synced: a
// record whose blobs a power cut has taken is as if it had not been made.
type newBlob struct {
	dir  string // for its file
	file *os.File
	held []byte // the end of it, which is not in the file; with no file, all of it
	sum  digest.Digester
	size int64
}

// maxHeld is how many bytes of a blob are in memory. Most blobs are smaller.
const maxHeld = 64 << 10

// unfinished is where files of blobs are that are being written.
func (s *Store) unfinished() string { return filepath.Join(s.dir, "unfinished") }

// blobFile is where the content store reads a blob.
func (s *Store) blobFile(d digest.Digest) string {
	return filepath.Join(s.dir, blobsDir, d.Algorithm().String(), d.Encoded())
}

func (s *Store) newBlob() *newBlob {
	return &newBlob{dir: s.unfinished(), sum: digest.Canonical.Digester()}
}

// Write implements io.Writer.
func (b *newBlob) Write(dt []byte) (int, error) {
	if len(b.held) > 0 && len(b.held)+len(dt) > maxHeld {
		if err := b.flush(); err != nil {
			return 0, err
		}
	}
	_, _ = b.sum.Hash().Write(dt) // a hash takes everything
	b.held = append(b.held, dt...)
	b.size += int64(len(dt))
	return len(dt), nil
}

// flush writes to the file what is in memory.
func (b *newBlob) flush() (err error) {
	if b.file == nil {
		if b.file, err = os.CreateTemp(b.dir, ""); err != nil {
			return err
		}
	}
	_, err = b.file.Write(b.held)
	b.held = b.held[:0]
	return err
}

// keep gives the blob its name, unless it is there already.
func (b *newBlob) keep(name string) error {
	if fi, err := os.Lstat(name); err == nil && fi.Mode().IsRegular() && fi.Size() == b.size {
		return b.drop()
	}
	if err := b.flush(); err != nil {
		return errors.Join(err, b.drop())
	}
	if err := os.Rename(b.file.Name(), name); err != nil {
		return errors.Join(err, b.drop())
	}
	return b.file.Close()
}

// drop removes what was written.
func (b *newBlob) drop() error {
	if b.file == nil {
		return nil
	}
	return errors.Join(b.file.Close(), os.Remove(b.file.Name()))
}
