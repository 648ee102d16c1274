package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tenonbuild/tenon/engine/filetrees"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/internal/regular"
)

// Reader reads a history, also while another process records in it. What cannot be read is as
// if it were not there.
type Reader struct{ dir string }

// In returns a Reader of a history, which need not be there.
func In(dir string) Reader { return Reader{dir} }

// file is a record's file.
type file struct {
	name string
	fs.FileInfo
}

// files are those of records, the latest first.
func (r Reader) files() ([]file, error) {
	entries, err := os.ReadDir(filepath.Join(r.dir, recordsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := make([]file, 0, len(entries))
	for _, e := range entries {
		fi, err := e.Info()
		if err == nil && fi.Mode().IsRegular() && !strings.HasPrefix(e.Name(), regular.TempPrefix) {
			all = append(all, file{e.Name(), fi})
		}
	}
	slices.SortFunc(all, func(a, b file) int {
		return cmp.Or(b.ModTime().Compare(a.ModTime()), cmp.Compare(a.name, b.name))
	})
	return all, nil
}

// Each calls do with records, those that ended last first, until it says to stop.
func (r Reader) Each(ctx context.Context, do func(*controlapi.BuildHistoryRecord) (more bool, err error)) error {
	all, err := r.files()
	if err != nil {
		return err
	}
	for _, f := range all {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		rec := readRecord(filepath.Join(r.dir, recordsDir, f.name))
		if rec == nil {
			continue
		}
		if more, err := do(rec); err != nil || !more {
			return err
		}
	}
	return nil
}

// readRecord reads a record; nil if it cannot be read.
func readRecord(path string) *controlapi.BuildHistoryRecord {
	dt, err := regular.Read(path, maxRecord)
	if err != nil {
		return nil
	}
	rec := &controlapi.BuildHistoryRecord{}
	if proto.Unmarshal(dt, rec) != nil || rec.CompletedAt == nil || fileName(rec.Ref) != filepath.Base(path) {
		return nil
	}
	return rec
}

// Trees are the trees of files that the sources of builds had.
func (r Reader) Trees() *filetrees.Store { return Trees(r.dir) }

// Find finds the record of a build by its name, by what that begins with, or by how many ended
// after it: "1" is the last one.
func (r Reader) Find(ctx context.Context, name string) (found *controlapi.BuildHistoryRecord, err error) {
	if rec := readRecord(filepath.Join(r.dir, recordsDir, fileName(name))); rec != nil {
		return rec, nil
	}
	count, notNumber := strconv.Atoi(name)
	var several []string
	err = r.Each(ctx, func(rec *controlapi.BuildHistoryRecord) (bool, error) {
		if notNumber == nil && len(name) < 6 {
			if count--; count == 0 {
				found = rec
			}
			return count > 0, nil
		}
		if strings.HasPrefix(rec.Ref, name) {
			found, several = rec, append(several, rec.Ref)
		}
		return len(several) < 2, nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(several) > 1:
		return nil, fmt.Errorf("%q begins the names of several builds: %s", name, strings.Join(several, ", "))
	case found == nil:
		return nil, &NotFoundError{name}
	}
	return found, nil
}

// Account returns what a build has done.
func (r Reader) Account(ref string) (*why.Build, error) { return readAccount(account(r.dir, ref)) }

// Earlier returns accounts of builds of a project that ended before one did that may be under
// way, the latest first.
// No more than most are read, and the heads of no more than look.
func (r Reader) Earlier(ctx context.Context, than *why.Build, most, look int) (all []*why.Build, err error) {
	files, err := r.files()
	if err != nil {
		return nil, err
	}
	for _, f := range files[:min(len(files), look)] {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		path := filepath.Join(r.dir, accountsDir, f.name)
		h, err := readHead(path)
		if err != nil || h.Project != than.Project || h.Ref == than.Ref || fileName(h.Ref) != f.name || !than.Ended.IsZero() && h.Ended.After(than.Ended) {
			continue
		}
		if b, err := readAccount(path); err == nil {
			all = append(all, b)
		}
		if len(all) == most {
			break
		}
	}
	return all, nil
}

// Log sends the log of a build.
func (r Reader) Log(ctx context.Context, rec *controlapi.BuildHistoryRecord, send func(*controlapi.StatusResponse) error) error {
	log := rec.GetLogs()
	if log == nil {
		return nil
	}
	blobs, err := contentlocal.NewStore(filepath.Join(r.dir, "content"))
	if err != nil {
		return err
	}
	ra, err := blobs.ReaderAt(ctx, ocispec.Descriptor{Digest: digest.Digest(log.Digest), Size: log.Size, MediaType: log.MediaType})
	if err != nil {
		return err
	}
	defer ra.Close()
	return replay(content.NewReader(ra), send)
}
