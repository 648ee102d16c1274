package solvertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/solver"
)

// ResultMaker makes results for a suite, and tells them apart. The zero value
// makes those of this package.
type ResultMaker struct {
	// New returns a result that stands for something else than any before. It
	// becomes the suite's, which releases it once.
	New func() solver.Result
	// Value returns what a result stands for: two results are the same if their
	// values are. It borrows the result for the call.
	Value func(solver.Result) string
}

func (m ResultMaker) make() solver.Result {
	if m.New == nil {
		return NewResult(fmt.Sprint("made-", serial.Add(1)), nil)
	}
	return m.New()
}

func (m ResultMaker) value(r solver.Result) string {
	if m.Value == nil {
		return Value(r)
	}
	return m.Value(r)
}

// ResultStorage is what the suite CacheResultStorage tries.
type ResultStorage struct {
	Storage solver.CacheResultStorage
	// Results are of the kind that the storage is for.
	Results ResultMaker
	// Prune, if set, has a result vanish from the storage, as a garbage collector
	// would.
	Prune func(id string)
}

// CacheResultStorage proves an implementation of solver.CacheResultStorage. open
// returns a storage that is empty, and sees to it that it is closed when the
// test ends: by then the suite has released every result, made or loaded, once.
// It is called many times.
//
//	func TestResults(t *testing.T) {
//		solvertest.CacheResultStorage(t, func(t *testing.T) solvertest.ResultStorage {
//			s := NewMyStorage(t.TempDir())
//			return solvertest.ResultStorage{Storage: s, Results: solvertest.ResultMaker{New: s.NewFile, Value: contentOf}}
//		})
//	}
//
// Run it with -race too. A storage is given the handles that a solver makes of an
// op's results: all that it can know of one is its ID and its Sys.
func CacheResultStorage(t *testing.T, open func(t *testing.T) ResultStorage) {
	tests := []struct {
		name string
		run  func(*testing.T, ResultStorage)
	}{
		{"Unknown", testUnknownResult},
		{"Several", testSeveralResults},
		{"SavedTwice", testResultSavedTwice},
		{"Holds", testHolds},
		{"LoadCanceled", testLoadCanceled},
		{"Pruned", testResultPruned},
		{"Concurrent", testConcurrentResults},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// loan is a result as a solver lends it: by a handle of what several share.
type loan struct {
	handle solver.Result
	value  string
	// released counts the releases of what is shared.
	released atomic.Int64
}

// lentResult counts its releases.
type lentResult struct {
	solver.Result
	loan *loan
}

func (r lentResult) Release(ctx context.Context) error {
	r.loan.released.Add(1)
	return r.Result.Release(ctx)
}

func (m ResultMaker) lend() *loan {
	l := &loan{}
	main := m.make()
	l.value = m.value(main)
	shared := solver.NewSharedResult(lentResult{main, l})
	l.handle = shared.Clone()
	shared.Release(context.Background()) // the handle is the only holder
	return l
}

// kept returns an error if whoever the result was lent to has released it. Some
// storages hand out what they were given: so it is asked before anything is loaded.
func (l *loan) kept() error {
	if n := l.released.Load(); n != 0 {
		return fmt.Errorf("result %s was lent, and was released %d times", l.handle.ID(), n)
	}
	return nil
}

// giveBack ends a loan.
func (l *loan) giveBack() error { return l.handle.Release(context.Background()) }

// put saves a new result, and returns its value.
func (s ResultStorage) put() (res solver.CacheResult, value string, err error) {
	l := s.Results.lend()
	res, err = s.save(l)
	return res, l.value, errors.Join(err, l.kept(), l.giveBack())
}

func (s ResultStorage) save(l *loan) (solver.CacheResult, error) {
	res, err := s.Storage.Save(l.handle)
	if err == nil && (res.ID == "" || res.CreatedAt.IsZero()) {
		err = fmt.Errorf("Save returned the name %q and the time %v: without a time a result is older than every other", res.ID, res.CreatedAt)
	}
	return res, err
}

// gone stands for the value of a result that is not there.
const gone = "\x00gone"

// is returns an error unless a result loads as a value, or is gone.
func (s ResultStorage) is(res solver.CacheResult, want string) error {
	got := ""
	r, err := s.Storage.Load(context.Background(), res)
	if err == nil && r == nil {
		return fmt.Errorf("Load(%q) returned neither a result nor an error", res.ID)
	}
	if err == nil {
		got = s.Results.value(r)
		err = r.Release(context.Background())
	} else if errors.Is(err, solver.ErrNotFound) {
		got, err = gone, nil
	}
	if err != nil || got != want {
		return fmt.Errorf("Load(%q): got %.100q (%v), want %.100q", res.ID, got, err, want)
	}
	if s.Storage.Exists(res.ID) == (got == gone) {
		return fmt.Errorf("Load(%q): got %.100q, and Exists says %v", res.ID, got, got == gone)
	}
	remote, err := s.Storage.LoadRemote(context.Background(), res)
	if got == gone && remote != nil {
		return fmt.Errorf("%q cannot be loaded, and is transferable", res.ID)
	}
	if got == gone || err == nil && remote == nil {
		return nil
	}
	return errors.Join(err, checkRemote(remote))
}

func (s ResultStorage) mustPut(t *testing.T) (res solver.CacheResult, value string) {
	t.Helper()
	res, value, err := s.put()
	noError(t, err)
	return res, value
}

func (s ResultStorage) want(t *testing.T, res solver.CacheResult, value string) {
	t.Helper()
	noError(t, s.is(res, value))
}

// load loads a result, and wants it to have a value.
func (s ResultStorage) load(t *testing.T, res solver.CacheResult, value string) solver.Result {
	t.Helper()
	r, err := s.Storage.Load(context.Background(), res)
	noError(t, err)
	s.same(t, "what was loaded", r, value)
	return r
}

func (s ResultStorage) same(t *testing.T, what string, r solver.Result, want string) {
	t.Helper()
	if got := s.Results.value(r); got != want {
		t.Errorf("%s: got %.100q, want %.100q", what, got, want)
	}
}

func testUnknownResult(t *testing.T, s ResultStorage) {
	s.want(t, someResult("unknown"), gone)
	res, value := s.mustPut(t)
	s.want(t, someResult("unknown"), gone)
	s.want(t, res, value)
}

// testSeveralResults: a storage for keys keeps of a result its ID and an instant, whose
// zone may be lost.
func testSeveralResults(t *testing.T, s ResultStorage) {
	saved := map[string]string{}
	for range 50 {
		res, value := s.mustPut(t)
		if _, ok := saved[res.ID]; ok {
			t.Fatalf("two results have the ID %q", res.ID)
		}
		saved[res.ID] = value
		s.want(t, res, value)
		s.want(t, solver.CacheResult{ID: res.ID, CreatedAt: time.Unix(0, res.CreatedAt.UnixNano()).UTC()}, value)
	}
	for id, value := range saved {
		s.want(t, someResult(id), value)
	}
}

// testResultSavedTwice: an output that two vertices have is saved by each.
func testResultSavedTwice(t *testing.T, s ResultStorage) {
	l := s.Results.lend()
	first, err := s.save(l)
	noError(t, err)
	second, err := s.save(l)
	noError(t, errors.Join(err, l.kept(), l.giveBack()))
	s.want(t, first, l.value)
	s.want(t, second, l.value)
}

// testHolds: what a storage keeps is its own, before and after what was saved has been
// released; and what it hands out is the caller's.
func testHolds(t *testing.T, s ResultStorage) {
	l := s.Results.lend()
	res, err := s.save(l)
	noError(t, errors.Join(err, l.kept()))
	loaded := []solver.Result{s.load(t, res, l.value), s.load(t, res, l.value), s.load(t, res, l.value)}
	s.same(t, "what was saved", l.handle, l.value)
	noError(t, l.giveBack())
	for len(loaded) > 0 {
		for _, r := range loaded {
			s.same(t, fmt.Sprintf("with %d held", len(loaded)), r, l.value)
		}
		noError(t, loaded[0].Release(context.Background()))
		loaded = loaded[1:]
	}
	s.want(t, res, l.value)
}

// testLoadCanceled: a load that was cancelled may fail. The next one does not.
func testLoadCanceled(t *testing.T, s ResultStorage) {
	res, value := s.mustPut(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r, err := s.Storage.Load(ctx, res); err == nil {
		s.same(t, "cancelled", r, value)
		noError(t, r.Release(context.Background()))
	} else if errors.Is(err, solver.ErrNotFound) {
		t.Error("a load that is cancelled says that there is no such result")
	}
	s.want(t, res, value)
}

// checkRemote proves that what is transferable can be pulled.
func checkRemote(remote *solver.Remote) error {
	if len(remote.Descriptors) == 0 || remote.Provider == nil {
		return fmt.Errorf("a remote of %d descriptors with the provider %v", len(remote.Descriptors), remote.Provider)
	}
	for _, desc := range remote.Descriptors {
		if err := desc.Digest.Validate(); err != nil {
			return err
		}
		blob, err := remote.Provider.ReaderAt(context.Background(), desc)
		if err != nil {
			return err
		}
		verifier := desc.Digest.Verifier()
		n, err := io.Copy(verifier, io.NewSectionReader(blob, 0, blob.Size()))
		if err := errors.Join(err, blob.Close()); err != nil {
			return err
		}
		if n != desc.Size || !verifier.Verified() {
			return fmt.Errorf("the %d bytes of %s are not those described", n, desc.Digest)
		}
	}
	return nil
}

func testResultPruned(t *testing.T, s ResultStorage) {
	if s.Prune == nil {
		t.Skip("nothing is pruned")
	}
	res, value := s.mustPut(t)
	other, otherValue := s.mustPut(t)
	held := s.load(t, res, value)
	s.Prune(res.ID)
	s.want(t, res, gone)
	s.same(t, "what is in use was pruned", held, value)
	noError(t, held.Release(context.Background()))
	s.want(t, res, gone)
	s.want(t, other, otherValue)
	res, value = s.mustPut(t)
	s.want(t, res, value)
}

// testConcurrentResults: several goroutines save and load results of their own,
// and one that they share.
func testConcurrentResults(t *testing.T, s ResultStorage) {
	shared := s.Results.lend()
	first, err := s.save(shared)
	noError(t, err)
	noError(t, concurrently(8, 50, func(int) error {
		own, value, err := s.put()
		again, errAgain := s.save(shared)
		return errors.Join(err, errAgain, s.is(own, value), s.is(first, shared.value), s.is(again, shared.value), s.is(someResult("unknown"), gone))
	}))
	noError(t, shared.giveBack())
	s.want(t, first, shared.value)
}

// concurrently makes rounds in several goroutines. A round gets the number of its worker
// times 1000, and its own.
func concurrently(workers, rounds int, round func(i int) error) error {
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := 0; i < rounds && errs[w] == nil; i++ {
				errs[w] = round(w*1000 + i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
