// Package history keeps what was built: a record of each build, in the messages of
// BuildKit's control API, its log, which can be shown again, its error with all details,
// how its results were built, and what its images are made of but for their layers. It is
// bounded: see Limits.
//
// A record is a file, and the rest are blobs, below one directory. What cannot be read is
// as if it had not been built.
package history

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/tenonbuild/tenon/internal/regular"
)

// Limits say how much is kept: all pinned records, the Entries that ended last, and others
// until they are of Age.
type Limits struct {
	Entries int
	Age     time.Duration
	// Most is how many records are kept, and Bytes how large they are together, whatever their
	// age: they are in memory. 0 stands for 10,000, or Entries if that is more, and for 64
	// MiB. Half of that may be pinned. The one that ended last is kept in any case.
	Most, Bytes int
	// None has no builds recorded any more.
	None bool
}

func (l Limits) withDefaults() Limits {
	if l.Most == 0 {
		l.Most = max(10_000, l.Entries)
	}
	if l.Bytes == 0 {
		l.Bytes = 64 << 20
	}
	return l
}

// DefaultLimits are buildkitd's.
var DefaultLimits = Limits{Entries: 50, Age: 48 * time.Hour}

// NotFoundError says that there is no record of a build.
type NotFoundError struct{ Ref string }

func (e *NotFoundError) Error() string { return fmt.Sprintf("no record of build %q", e.Ref) }

// Code is what the error is for gRPC.
func (*NotFoundError) Code() codes.Code { return codes.NotFound }

// Store is a history. Its methods may be called concurrently.
type Store struct {
	dir    string
	limits Limits
	blobs  content.Store

	mu        sync.Mutex // guards what follows, and the files
	appends   bool       // what was there at the beginning is not known
	unswept   int        // records that were removed, and whose trees may be there
	active    map[string]*controlapi.BuildHistoryRecord
	ended     map[string]*controlapi.BuildHistoryRecord
	sizes     map[string]int             // of those that have ended, in bytes
	held      map[string][]digest.Digest // the blobs of those that have ended
	holds     map[digest.Digest]int      // how often a blob is held
	listeners map[*listener]bool
}

// Open opens or makes a history in a directory that nobody else changes.
func Open(dir string, limits Limits) (*Store, error) {
	s, err := newStore(dir, limits)
	if err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, emptied(s.unfinished())
}

func newStore(dir string, limits Limits) (*Store, error) {
	for _, name := range []string{recordsDir, accountsDir, filepath.Join(blobsDir, digest.Canonical.String())} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	blobs, err := contentlocal.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		return nil, err
	}
	return &Store{
		dir: dir, limits: limits.withDefaults(), sizes: map[string]int{}, blobs: blobs, listeners: map[*listener]bool{},
		active: map[string]*controlapi.BuildHistoryRecord{}, ended: map[string]*controlapi.BuildHistoryRecord{},
		held: map[string][]digest.Digest{}, holds: map[digest.Digest]int{},
	}, nil
}

const (
	recordsDir = "records"
	blobsDir   = "content/blobs" // of contentlocal's layout
)

// maxRecord is how many bytes a record may have. It is one message to clients, who take no more
// than 16 MiB: a larger one would keep them from all others.
const maxRecord = 8 << 20

// fileName is what the files of a build are called.
func fileName(ref string) string {
	name := sha256.Sum256([]byte(ref))
	return hex.EncodeToString(name[:16])
}

func (s *Store) file(ref string) string { return filepath.Join(s.dir, recordsDir, fileName(ref)) }

// load reads the records, and removes what none of them has.
func (s *Store) load() error {
	for _, name := range []string{recordsDir, accountsDir} {
		if err := regular.Sweep(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, recordsDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		rec := readRecord(filepath.Join(s.dir, recordsDir, e.Name()))
		if rec == nil || s.ended[rec.Ref] != nil {
			continue
		}
		s.ended[rec.Ref], s.sizes[rec.Ref] = rec, proto.Size(rec)
		if s.held[rec.Ref], err = s.blobsOf(rec); err != nil {
			return err
		}
		for _, d := range s.held[rec.Ref] {
			s.holds[d]++
		}
	}
	return s.sweep()
}

// Records says whether builds are recorded.
func (s *Store) Records() bool { return !s.limits.None }

// Pin keeps a record until it is deleted, or no longer.
func (s *Store) Pin(ref string, pinned bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rec, ok := s.ended[ref]
	if !ok {
		return &NotFoundError{ref}
	}
	if rec.Pinned == pinned {
		return nil
	}
	if pinned {
		if err := s.mayPin(ref); err != nil {
			return err
		}
	}
	rec = proto.CloneOf(rec)
	rec.Pinned = pinned
	rec.Generation++
	return s.keep(rec)
}

// Has says whether there is a record of a build, or will be.
func (s *Store) Has(ref string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active[ref] != nil || s.ended[ref] != nil
}

// Delete removes a record of a build that has ended.
func (s *Store) Delete(ref string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remove(ref)
}

// Sweep removes the trees that no build has: those that are told of while builds begin stay.
func (s *Store) Sweep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sweepTrees()
}

// keep writes a record and tells it. The caller has mu. A record that was told is not
// changed any more.
func (s *Store) keep(rec *controlapi.BuildHistoryRecord) error {
	dt, err := proto.Marshal(rec)
	if err == nil && len(dt) > maxRecord {
		err = fmt.Errorf("it has %d bytes, which are too many", len(dt))
	}
	if err == nil {
		err = regular.Replace(s.file(rec.Ref), dt)
	}
	if err != nil {
		return fmt.Errorf("record of build %s: %w", rec.Ref, err)
	}
	s.ended[rec.Ref], s.sizes[rec.Ref] = rec, len(dt)
	s.tell(controlapi.BuildHistoryEventType_COMPLETE, rec)
	return nil
}

// remove removes a record. The caller has mu.
func (s *Store) remove(ref string) error {
	rec, ok := s.ended[ref]
	if !ok {
		return &NotFoundError{ref}
	}
	if err := os.Remove(s.file(ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.dropAccount(ref); err != nil {
		return err
	}
	delete(s.ended, ref)
	delete(s.sizes, ref)
	s.tell(controlapi.BuildHistoryEventType_DELETED, rec)
	held := s.held[ref]
	delete(s.held, ref)
	return s.release(held)
}
