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
		{"SavedIsLoaded", testSavedIsLoaded},
		{"Several", testSeveralResults},
		{"SavedTwice", testResultSavedTwice},
		{"SaveBorrows", testSaveBorrows},
		{"LoadedIsTheCallers", testLoadedIsTheCallers},
		{"LoadCanceled", testLoadCanceled},
		{"Remote", testRemote},
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
	shared *solver.SharedResult
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
	l.shared = solver.NewSharedResult(lentResult{main, l})
	l.handle = l.shared.Clone()
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
func (l *loan) giveBack() error {
	return errors.Join(l.handle.Release(context.Background()), l.shared.Release(context.Background()))
}

// put saves a new result, and returns its value.
func (s ResultStorage) put() (res solver.CacheResult, value string, err error) {
	l := s.Results.lend()
	res, err = s.Storage.Save(l.handle)
	if err == nil && res.ID == "" {
		err = errors.New("Save returned no ID")
	}
	return res, l.value, errors.Join(err, l.kept(), l.giveBack())
}

// get loads a result and releases it.
func (s ResultStorage) get(res solver.CacheResult) (value string, err error) {
	r, err := s.Storage.Load(context.Background(), res)
	if err != nil {
		return "", err
	}
	if r == nil {
		return "", errors.New("Load returned neither a result nor an error")
	}
	return s.Results.value(r), r.Release(context.Background())
}

func (s ResultStorage) mustPut(t *testing.T) (res solver.CacheResult, value string) {
	t.Helper()
	res, value, err := s.put()
	noError(t, err)
	return res, value
}

func (s ResultStorage) wantValue(t *testing.T, res solver.CacheResult, want string) {
	t.Helper()
	if got, err := s.get(res); got != want || err != nil {
		t.Fatalf("Load(%q): got %.100q (%v), want %.100q", res.ID, got, err, want)
	}
	if !s.Storage.Exists(res.ID) {
		t.Fatalf("%q can be loaded, and does not exist", res.ID)
	}
}

func (s ResultStorage) wantNone(t *testing.T, res solver.CacheResult) {
	t.Helper()
	if got, err := s.get(res); !errors.Is(err, solver.ErrNotFound) {
		t.Fatalf("Load(%q): got %.100q (%v), want ErrNotFound", res.ID, got, err)
	}
	if s.Storage.Exists(res.ID) {
		t.Fatalf("%q cannot be loaded, and exists", res.ID)
	}
	if remote, err := s.Storage.LoadRemote(context.Background(), res); remote != nil {
		t.Fatalf("%q cannot be loaded, and is transferable (%v)", res.ID, err)
	}
}

func testUnknownResult(t *testing.T, s ResultStorage) {
	s.wantNone(t, someResult("unknown"))
	res, value := s.mustPut(t)
	s.wantNone(t, someResult("unknown"))
	s.wantValue(t, res, value)
}

// testSavedIsLoaded: a storage for keys keeps of a result its ID and an instant,
// whose zone may be lost.
func testSavedIsLoaded(t *testing.T, s ResultStorage) {
	res, value := s.mustPut(t)
	if res.CreatedAt.IsZero() {
		t.Error("a result without a time is older than every other")
	}
	for range 2 {
		s.wantValue(t, res, value)
		s.wantValue(t, solver.CacheResult{ID: res.ID, CreatedAt: time.Unix(0, res.CreatedAt.UnixNano()).UTC()}, value)
	}
}

func testSeveralResults(t *testing.T, s ResultStorage) {
	saved := map[string]string{}
	for range 50 {
		res, value := s.mustPut(t)
		if _, ok := saved[res.ID]; ok {
			t.Fatalf("two results have the ID %q", res.ID)
		}
		saved[res.ID] = value
	}
	for id, value := range saved {
		s.wantValue(t, someResult(id), value)
	}
}

// testResultSavedTwice: an output that two vertices have is saved by each.
func testResultSavedTwice(t *testing.T, s ResultStorage) {
	l := s.Results.lend()
	first, err := s.Storage.Save(l.handle)
	noError(t, err)
	second, err := s.Storage.Save(l.handle)
	noError(t, err)
	noError(t, l.kept())
	noError(t, l.giveBack())
	s.wantValue(t, first, l.value)
	s.wantValue(t, second, l.value)
}

// testSaveBorrows: what a storage keeps is its own, before and after the one that
// was saved has been released.
func testSaveBorrows(t *testing.T, s ResultStorage) {
	l := s.Results.lend()
	res, err := s.Storage.Save(l.handle)
	noError(t, err)
	noError(t, l.kept())
	r, err := s.Storage.Load(context.Background(), res)
	noError(t, err)
	if got := s.Results.value(l.handle); got != l.value {
		t.Errorf("saving has changed the result: got %.100q, want %.100q", got, l.value)
	}
	noError(t, l.giveBack())
	if got := s.Results.value(r); got != l.value {
		t.Errorf("what was loaded ended with what was saved: got %.100q, want %.100q", got, l.value)
	}
	noError(t, r.Release(context.Background()))
	s.wantValue(t, res, l.value)
}

func testLoadedIsTheCallers(t *testing.T, s ResultStorage) {
	res, value := s.mustPut(t)
	var loaded [3]solver.Result
	for i := range loaded {
		r, err := s.Storage.Load(context.Background(), res)
		noError(t, err)
		loaded[i] = r
	}
	for i, r := range loaded {
		for _, other := range loaded[i:] {
			if got := s.Results.value(other); got != value {
				t.Errorf("with %d of %d released: got %.100q, want %.100q", i, len(loaded), got, value)
			}
		}
		noError(t, r.Release(context.Background()))
	}
	s.wantValue(t, res, value)
}

// testLoadCanceled: a load that was cancelled may fail. The next one does not.
func testLoadCanceled(t *testing.T, s ResultStorage) {
	res, value := s.mustPut(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r, err := s.Storage.Load(ctx, res); err == nil {
		if got := s.Results.value(r); got != value {
			t.Errorf("got %.100q, want %.100q", got, value)
		}
		noError(t, r.Release(context.Background()))
	} else if errors.Is(err, solver.ErrNotFound) {
		t.Error("a load that is cancelled says that there is no such result")
	}
	s.wantValue(t, res, value)
}

// testRemote: a result either has no transferable form, or one that can be pulled.
func testRemote(t *testing.T, s ResultStorage) {
	res, value := s.mustPut(t)
	for range 2 {
		remote, err := s.Storage.LoadRemote(context.Background(), res)
		noError(t, err)
		if remote != nil {
			noError(t, checkRemote(remote))
		}
	}
	s.wantValue(t, res, value)
}

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
	held, err := s.Storage.Load(context.Background(), res)
	noError(t, err)
	s.Prune(res.ID)
	s.wantNone(t, res)
	if got := s.Results.value(held); got != value {
		t.Errorf("what is in use was pruned: got %.100q, want %.100q", got, value)
	}
	noError(t, held.Release(context.Background()))
	s.wantNone(t, res)
	s.wantValue(t, other, otherValue)
	res, value = s.mustPut(t)
	s.wantValue(t, res, value)
}

// testConcurrentResults: several goroutines save and load results of their own,
// and one that they share.
func testConcurrentResults(t *testing.T, s ResultStorage) {
	const workers, rounds = 8, 50
	shared := s.Results.lend()
	first, err := s.Storage.Save(shared.handle)
	noError(t, err)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range rounds {
				if errs[w] = s.concurrentRound(shared, first); errs[w] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	noError(t, errors.Join(errs...))
	noError(t, shared.giveBack())
	s.wantValue(t, first, shared.value)
}

func (s ResultStorage) concurrentRound(shared *loan, first solver.CacheResult) error {
	own, value, err := s.put()
	if err != nil {
		return err
	}
	again, err := s.Storage.Save(shared.handle)
	if err != nil {
		return err
	}
	for _, is := range []struct {
		res   solver.CacheResult
		value string
	}{{own, value}, {first, shared.value}, {again, shared.value}} {
		if got, err := s.get(is.res); got != is.value || err != nil {
			return fmt.Errorf("Load(%q): got %.100q (%v), want %.100q", is.res.ID, got, err, is.value)
		}
		if _, err := s.Storage.LoadRemote(context.Background(), is.res); err != nil || !s.Storage.Exists(is.res.ID) {
			return fmt.Errorf("%q can be loaded, and does not exist (%v)", is.res.ID, err)
		}
	}
	if _, err := s.get(someResult("unknown")); !errors.Is(err, solver.ErrNotFound) {
		return fmt.Errorf("an unknown result: %v", err)
	}
	return nil
}
