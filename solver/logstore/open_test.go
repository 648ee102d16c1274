package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/solvertest"
)

// wantFileError opens a file that cannot be opened, and makes sure that it is told why,
// and left as it is.
func wantFileError(t *testing.T, path string, kind error, says string) {
	t.Helper()
	before, err := os.ReadFile(path)
	must(t, err)
	_, openErr := Open(path, Options{})
	for _, err := range []error{openErr, CheckFile(path)} {
		var fileErr *FileError
		if !errors.Is(err, kind) || !errors.As(err, &fileErr) || fileErr.Path != path || fileErr.Hint == "" {
			t.Errorf("got %v, want a FileError that is %v", err, kind)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%q does not say %q", err, says)
		}
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
}

func TestOpenTwice(t *testing.T) {
	path := storePath(t)
	s := openTest(t, path, Options{compactAt: 1})
	for range 3 { // also after the file was replaced
		wantFileError(t, path, ErrInUse, path)
		must(t, s.AddResult("a", res("r")))
		must(t, s.Release("r"))
		must(t, s.AddResult("a", res("r")))
		must(t, s.Sync(t.Context()))
	}
	must(t, s.Close())
	s = openTest(t, path, Options{})
	if !s.Exists("a") {
		t.Error("the failed opening did harm")
	}
}

func TestOpenOthers(t *testing.T) {
	newer, broken := head(version+1), head(version)
	broken[len(magic)]++
	for name, c := range map[string]struct {
		content []byte
		kind    error
		says    string
	}{
		"empty":   {nil, ErrCorrupt, "0 bytes"},
		"cut":     {head(version)[:7], ErrCorrupt, "7 bytes"},
		"no sum":  {head(version)[:headSize-1], ErrCorrupt, "beginning"},
		"broken":  {broken, ErrCorrupt, "beginning"},
		"text":    {[]byte("some text that is not a log\n"), ErrForeign, "another program"},
		"zeros":   {make([]byte, 1<<16), ErrForeign, "another program"},
		"bolt":    {little.AppendUint32(make([]byte, 16), boltMagic), ErrVersion, "bolt file"},
		"newer":   {newer, ErrVersion, "format 2"},
		"newer 2": {append(newer, "whatever it is"...), ErrVersion, "use the program that made it"},
	} {
		t.Run(name, func(t *testing.T) {
			path := storePath(t)
			must(t, os.WriteFile(path, c.content, 0o600))
			wantFileError(t, path, c.kind, c.says)
		})
	}
	dir := t.TempDir()
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("a folder was opened")
	}
	if _, err := Open(filepath.Join(dir, "none", "cache.db"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the folder is missing", err)
	}
	if err := CheckFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the file is missing", err)
	}
	s := openTest(t, filepath.Join(dir, "cache.db"), Options{compactAt: 1})
	must(t, s.AddResult("a", res("r")))
	must(t, s.Close())
	if left, err := os.ReadDir(dir); len(left) != 1 || err != nil {
		t.Errorf("creation leaves %v (%v)", left, err)
	}
}

// smallFile returns the content of a file with a bit of everything, in many frames, and
// the model of what each length of it holds at least, by where a sync ended.
func smallFile(t testing.TB, opt Options) (content []byte, states map[int64]*solvertest.StorageModel) {
	t.Helper()
	path, model := storePath(t), solvertest.NewStorageModel()
	opt.FlushEvery = time.Hour
	s, err := Open(path, opt)
	must(t, err)
	states = map[int64]*solvertest.StorageModel{s.log.size: model.Clone()}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 12 {
		for range 20 {
			both(t, s, model, solvertest.RandomStorageOp(rng, 60))
		}
		must(t, s.Sync(t.Context()))
		states[s.log.size] = model.Clone()
	}
	must(t, s.Close())
	content, err = os.ReadFile(path)
	must(t, err)
	return content, states
}

// A file that is cut anywhere opens with what was synced before the cut.
func TestOpenCut(t *testing.T) {
	content, states := smallFile(t, Options{})
	path := storePath(t)
	last := states[int64(headSize)]
	for size := headSize; size <= len(content); size++ {
		if m := states[int64(size)]; m != nil {
			last = m
		} else if size%7 > 0 {
			continue
		}
		for _, tail := range [][]byte{nil, make([]byte, 5000)} {
			must(t, os.WriteFile(path, append(content[:size:size], tail...), 0o600))
			must(t, CheckFile(path))
			s, err := Open(path, Options{})
			must(t, err)
			if err := solvertest.DiffStorage(s, last); err != nil {
				t.Fatalf("cut to %d bytes: %v", size, err)
			}
			if whole := states[int64(size)] != nil && tail == nil; whole == (s.Damage() != nil) {
				t.Fatalf("cut to %d bytes: %v", size, s.Damage())
			}
			must(t, s.AddResult("new", res("r")))
			must(t, s.Close())
			must(t, CheckFile(path))
		}
	}
}

// A damaged byte costs what its frame said, and what names that; all else is kept, said,
// and whole afterwards.
func TestOpenDamaged(t *testing.T) {
	const n = 2000
	path := storePath(t)
	s, err := Open(path, Options{FlushEvery: time.Hour})
	must(t, err)
	for i := range n {
		must(t, s.AddResult(fmt.Sprint("node", i), res(fmt.Sprint("r", i))))
		must(t, s.AddLink(fmt.Sprint("node", i), link("op"), fmt.Sprint("node", i+1)))
		if i%20 == 19 {
			must(t, s.Sync(t.Context()))
		}
	}
	must(t, s.Close())
	content, err := os.ReadFile(path)
	must(t, err)
	rng := rand.New(rand.NewPCG(7, 7))
	for range 50 {
		b := bytes.Clone(content)
		at := headSize + rng.IntN(len(b)-headSize)
		b[at] ^= byte(1 + rng.IntN(255))
		must(t, os.WriteFile(path, b, 0o600))
		if err := CheckFile(path); !errors.Is(err, ErrCorrupt) && at < len(b)-2000 {
			t.Fatalf("byte %d: the check says %v", at, err)
		}
		s, err := Open(path, Options{})
		must(t, err)
		if !errors.Is(s.Damage(), ErrCorrupt) {
			t.Fatalf("byte %d: nothing is said", at)
		}
		kept := 0
		for i := range n {
			if s.Exists(fmt.Sprint("node", i)) {
				kept++
			}
		}
		if kept < n-22 {
			t.Fatalf("byte %d: only %d of %d nodes were kept", at, kept, n)
		}
		must(t, s.Graph().Check())
		must(t, s.AddResult("new", res("new")))
		must(t, s.Close())
		s, err = Open(path, Options{})
		must(t, errors.Join(err, s.Damage()))
		must(t, s.Close())
	}
}

// A frame that may have been written before another of its batch was is left out if that
// one is missing: never the second of two writes without the first.
func TestOpenHole(t *testing.T) {
	path := storePath(t)
	s, err := Open(path, Options{FlushEvery: time.Hour})
	must(t, err)
	must(t, s.AddResult("before", res("r")))
	must(t, s.Sync(t.Context()))
	start := s.log.size
	const n = 10_000 // several frames
	for i := range n {
		must(t, s.AddResult(fmt.Sprint("node", i), res(fmt.Sprint("r", i))))
	}
	must(t, s.Sync(t.Context()))
	must(t, s.Close())
	content, err := os.ReadFile(path)
	must(t, err)
	if bytes.Count(content[start:], marker) < 2 {
		t.Fatal("there are too few frames")
	}
	clear(content[start:][:512])
	must(t, os.WriteFile(path, content, 0o600))
	s, err = Open(path, Options{})
	must(t, err)
	if !s.Exists("before") || s.Exists(fmt.Sprint("node", n-1)) {
		t.Error("the wrong part is left")
	}
	must(t, s.Close())
}

// FuzzFile: any file opens, or gives an error. What was opened is sound.
func FuzzFile(f *testing.F) {
	content, _ := smallFile(f, Options{})
	f.Add(content)
	f.Add(content[:len(content)/2])
	compacted, _ := smallFile(f, Options{compactAt: 1})
	f.Add(compacted)
	f.Fuzz(func(t *testing.T, b []byte) {
		useDamaged(t, b)
		useDamaged(t, resealed(b))
	})
}

// resealed makes frames with a false checksum into ones whose checksum is right.
func resealed(b []byte) []byte {
	b = bytes.Clone(b)
	for at, sequence := min(headSize, len(b)), uint64(0); len(b)-at >= frameHead; sequence++ {
		n := int(little.Uint32(b[at+4:])) + frameHead
		if n > len(b)-at {
			n = len(b) - at
		}
		seal(b[at:][:n:n], sequence+1, 0)
		at += n
	}
	return b
}

// TestDamage changes bytes of a file at random: whatever that does, it is an error or it
// is harmless, and never a panic.
func TestDamage(t *testing.T) {
	content, _ := smallFile(t, Options{})
	compacted, _ := smallFile(t, Options{compactAt: 1})
	rng := rand.New(rand.NewPCG(7, 7))
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	for range rounds {
		b := bytes.Clone([][]byte{content, compacted}[rng.IntN(2)])
		for range 1 + rng.IntN(3) {
			b[rng.IntN(len(b))] = byte(rng.Uint32())
		}
		useDamaged(t, b)
		useDamaged(t, resealed(b))
	}
}

// quickDisk syncs nothing.
type quickDisk struct{ osDisk }

func (d quickDisk) open(name string) (file, error) { return quick(d.osDisk.open(name)) }

func (d quickDisk) create(beside string) (file, error) { return quick(d.osDisk.create(beside)) }

func (quickDisk) syncDir(string) error { return nil }

type quickFile struct{ file }

func (quickFile) Sync() error { return nil }

func quick(f file, err error) (file, error) {
	if err != nil {
		return nil, err
	}
	return quickFile{f}, nil
}

// useDamaged does everything to a file that may be damaged.
func useDamaged(t *testing.T, content []byte) {
	t.Helper()
	path := storePath(t)
	must(t, os.WriteFile(path, content, 0o600))
	checked := CheckFile(path)
	s, err := Open(path, Options{disk: quickDisk{}})
	if err != nil {
		kinds := []error{ErrCorrupt, ErrForeign, ErrVersion}
		if checked == nil || !slices.ContainsFunc(kinds, func(k error) bool { return errors.Is(err, k) }) {
			t.Fatalf("the check says %v, Open says %v", checked, err)
		}
		return
	}
	must(t, s.Graph().Check())
	_ = s.Walk(func(id string) error {
		_ = s.AddLink(id, link("op"), "new")
		return s.WalkResults(id, func(res solver.CacheResult) error { return s.Release(res.ID) })
	})
	must(t, s.Graph().Check())
	must(t, s.Sync(t.Context()))
	must(t, s.Check())
	must(t, s.Close())
	must(t, CheckFile(path))
}
