package local

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenonbuild/tenon/internal/regular"
)

// maxLast snapshots of a directory are remembered: that of one filter may help one
// of another.
const maxLast = 4

// lastFile is what is kept, as JSON, of the snapshots that were made of a directory. One that
// is sent is named by its sender: see sender.
// Paths are bytes, which JSON's strings are not.
type lastFile struct {
	Dir  []byte `json:"dir"`
	Last []last `json:"last"` // the latest first, one for each filter
}

// last is the last snapshot of a directory and a filter.
type last struct {
	Filter string `json:"filter"`
	ID     string `json:"id"` // the Ref's
	// Several are the paths of the files that have several names in the snapshot.
	Several [][]byte `json:"several,omitempty"`
}

func (l last) severalPaths() map[string]bool {
	all := make(map[string]bool, len(l.Several))
	for _, p := range l.Several {
		all[string(p)] = true
	}
	return all
}

func decodeLast(b []byte) (lastFile, error) {
	var l lastFile
	if err := json.Unmarshal(b, &l); err != nil {
		return lastFile{}, fmt.Errorf("last snapshots: %w", err)
	}
	return l, nil
}

// filter names what is wanted of a directory.
func (w wanted) filter() string {
	h := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %v %q", w.name, w.include, w.exclude, w.follow, w.metadata, w.full))
	return hex.EncodeToString(h[:16])
}

// lastName is where the snapshots of a directory are remembered.
func (s *Source) lastName(dir string) string {
	name := sha256.Sum256([]byte(dir))
	return s.opt.Store.Path(lastDir, hex.EncodeToString(name[:16]))
}

// readLast returns what is remembered. What cannot be read is as good as nothing. The
// caller has s.lastMu.
func (s *Source) readLast(dir string) lastFile {
	b, err := regular.Read(s.lastName(dir), maxMemory)
	if err == nil {
		if l, err := decodeLast(b); err == nil && string(l.Dir) == dir {
			return l
		}
	}
	return lastFile{Dir: []byte(dir)}
}

// lastOf returns the last snapshots of a directory, that of the same filter first. A
// directory that is not in place ("") has none.
func (s *Source) lastOf(dir string, w wanted) []last {
	if dir == "" {
		return nil
	}
	s.lastMu.Lock()
	all := s.readLast(dir).Last
	s.lastMu.Unlock()
	var same, others []last
	for _, l := range all {
		if l.Filter == w.filter() {
			same = append(same, l)
		} else {
			others = append(others, l)
		}
	}
	return append(same, others...)
}

// keepLast remembers a snapshot of a directory.
func (s *Source) keepLast(dir string, w wanted, l last) error {
	if dir == "" {
		return nil
	}
	s.lastMu.Lock()
	defer s.lastMu.Unlock()
	l.Filter = w.filter()
	kept := lastFile{Dir: []byte(dir), Last: []last{l}}
	for _, old := range s.readLast(dir).Last {
		if old.Filter != l.Filter && len(kept.Last) < maxLast {
			kept.Last = append(kept.Last, old)
		}
	}
	b, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	file := s.lastName(dir)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := regular.Replace(file, b); err != nil {
		return err
	}
	return forgetOldest(filepath.Dir(file))
}
