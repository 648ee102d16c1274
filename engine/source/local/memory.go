package local

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/internal/regular"
)

const (
	// keepDays is how long a file is remembered that no scan has seen. Scans with other
	// filters see other files.
	keepDays = 30
	// touchDays is how old the day of the last use may be before it is written again.
	touchDays = 7
	// keepDirs is how many directories are remembered.
	keepDirs = 200
)

// memory is what is remembered of the files of one directory. Whoever has the
// directory's turn has it alone.
type memory struct {
	file    string // where it is kept; "" if nothing is remembered
	dir     string
	today   uint32 // days since 1970
	byPath  map[string]remembered
	changed bool
}

// remembered is a file that was hashed.
type remembered struct {
	id  ident
	sum contenthash.Sum
	day uint32 // of the last use
}

// maxMemory is how many bytes a file of what is remembered may have: some millions of
// paths.
const maxMemory = 256 << 20

// remember reads what is remembered of a directory. What cannot be read is as good
// as nothing.
func (s *Source) remember(dir string) *memory {
	m := &memory{dir: dir, today: uint32(s.now().Unix() / (24 * 60 * 60)), byPath: map[string]remembered{}}
	if dir == "" {
		return m
	}
	name := sha256.Sum256([]byte(dir))
	m.file = s.opt.Store.Path(memoryDir, hex.EncodeToString(name[:16]))
	b, err := regular.Read(m.file, maxMemory)
	if err != nil {
		return m
	}
	kept, err := decodeMemory(b)
	if err != nil || kept.dir != dir {
		return m
	}
	for p, e := range kept.byPath {
		if e.day+keepDays >= m.today {
			m.byPath[p] = e
		}
	}
	return m
}

// recall returns the sum of a file that has not changed since it was hashed.
func (m *memory) recall(path string, id ident) (contenthash.Sum, bool) {
	e, ok := m.byPath[path]
	if !ok || e.id != id {
		return contenthash.Sum{}, false
	}
	if e.day+touchDays < m.today {
		e.day = m.today
		m.byPath[path] = e
		m.changed = true
	}
	return e.sum, true
}

// put remembers a file, whose id has to be settled.
func (m *memory) put(path string, id ident, sum contenthash.Sum) {
	m.byPath[path] = remembered{id: id, sum: sum, day: m.today}
	m.changed = true
}

// save writes what is remembered, if there is something new.
func (m *memory) save() error {
	if !m.changed || m.file == "" {
		return nil
	}
	dir := filepath.Dir(m.file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := regular.Replace(m.file, m.encode()); err != nil {
		return err
	}
	m.changed = false
	return forgetOldest(dir)
}

// forgetOldest removes files until there are no more than keepDirs of them, and what
// a process that died has left.
func forgetOldest(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= keepDirs {
		return err
	}
	type aged struct {
		name string
		time time.Time
	}
	var all []aged
	for _, e := range entries {
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		all = append(all, aged{e.Name(), fi.ModTime()})
	}
	slices.SortFunc(all, func(a, b aged) int { return b.time.Compare(a.time) })
	for _, a := range all[min(keepDirs, len(all)):] {
		if err := os.RemoveAll(filepath.Join(dir, a.name)); err != nil {
			return fmt.Errorf("forgetting a directory: %w", err)
		}
	}
	return nil
}
