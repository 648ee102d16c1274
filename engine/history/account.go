package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/tenonbuild/tenon/engine/filetrees"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/internal/regular"
)

// accountsDir is where what builds have done is kept, in files named as those of records: a
// head, and a why.Build as JSON, compressed by zstd.
const accountsDir = "accounts"

// maxAccount is how many bytes an account may have, compressed or not.
const maxAccount = 256 << 20

// account is where the account of a build is.
func account(dir, ref string) string { return filepath.Join(dir, accountsDir, fileName(ref)) }

// Trees are the trees of files that the sources of builds had.
func Trees(dir string) *filetrees.Store { return filetrees.In(filepath.Join(dir, "trees")) }

// Account is what the build has done: kept with the record when that ends. How long steps took
// is added from the log.
func (r *Recording) Account(b *why.Build) { r.account = b }

// keepAccount writes what the build has done.
func (r *Recording) keepAccount() error {
	b := r.account
	if b == nil {
		return nil
	}
	b.Version = why.Version
	for i := range b.Steps {
		if seen, ok := r.steps[b.Steps[i].Digest.String()]; ok {
			b.Steps[i].Started, b.Steps[i].Ended, b.Steps[i].Log = seen.started, seen.ended, seen.log
		}
	}
	dt, err := json.Marshal(b)
	if err != nil {
		return err
	}
	path := account(r.s.dir, b.Ref)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return regular.Replace(path, packer().EncodeAll(dt, packHead(b)))
}

// packer compresses accounts. It has memory that is worth to be used again.
var packer = sync.OnceValue(func() *zstd.Encoder {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err) // the options are constant
	}
	return z
})

// readAccount reads the account of a build.
func readAccount(path string) (*why.Build, error) {
	dt, err := regular.Read(path, maxAccount)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(bytes.NewReader(dt), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxAccount))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	plain, err := io.ReadAll(io.LimitReader(z, maxAccount))
	if err != nil {
		return nil, err
	}
	b := &why.Build{}
	if err := json.Unmarshal(plain, b); err != nil {
		return nil, err
	}
	if b.Version != why.Version {
		return nil, fmt.Errorf("it is of version %d, and this program knows %d", b.Version, why.Version)
	}
	return b, nil
}

// dropAccount removes the account of a build.
func (s *Store) dropAccount(ref string) error {
	if err := os.Remove(account(s.dir, ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
