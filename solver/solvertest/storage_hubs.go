package solvertest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
)

// hubSize is how many links a node can have without a look-up noticing. It is
// smaller where tests are slow.
func hubSize() int {
	if raceEnabled || testing.Short() {
		return 10_000
	}
	return 100_000
}

func hubLink(i int) solver.CacheInfoLink {
	return solver.CacheInfoLink{Digest: digest.Digest(fmt.Sprintf("sha256:%064x", i))}
}

func hubNode(i int) string { return fmt.Sprintf("node-%d", i) }

func testHubAsSource(t *testing.T, s solver.CacheKeyStorage) {
	for i := range hubSize() {
		noError(t, s.AddLink("hub", hubLink(i), hubNode(i)))
	}
	for i := range hubSize() {
		noError(t, s.AddLink("hub", hubLink(i), hubNode(i)))
		if !s.HasLink("hub", hubLink(i), hubNode(i)) || s.HasLink("hub", hubLink(i), hubNode(i+1)) {
			t.Fatalf("link %d is wrong", i)
		}
		got, err := storageTargets(s, "hub", hubLink(i))
		if err != nil || len(got) != 1 || got[0] != hubNode(i) {
			t.Fatalf("link %d: got %q, %v", i, got, err)
		}
		noError(t, s.AddResult(hubNode(i), someResult("shared")))
	}
	noError(t, s.AddResult(hubNode(7), someResult("own")))
	noError(t, s.Release("shared"))
	wantNodes(t, s, "hub", hubNode(7))
	noError(t, s.Release("own"))
	wantNodes(t, s)
}

func testHubAsTarget(t *testing.T, s solver.CacheKeyStorage) {
	noError(t, s.AddResult("hub", someResult("r")))
	for i := range hubSize() {
		noError(t, s.AddLink(hubNode(i), hubLink(0), "hub"))
	}
	for i := range hubSize() {
		noError(t, s.AddLink(hubNode(i), hubLink(0), "hub"))
		if !s.HasLink(hubNode(i), hubLink(0), "hub") || s.HasLink(hubNode(i), hubLink(1), "hub") {
			t.Fatalf("link %d is wrong", i)
		}
		got, err := storageTargets(s, hubNode(i), hubLink(0))
		if err != nil || len(got) != 1 || got[0] != "hub" {
			t.Fatalf("link %d: got %q, %v", i, got, err)
		}
	}
	sources, err := storageBacklinks(s, "hub")
	if err != nil || len(sources) != hubSize() {
		t.Fatalf("%d links to the hub, %v", len(sources), err)
	}
	noError(t, s.Release("r"))
	wantNodes(t, s)
}

// testHubOfOneLink: all links from one node are equal, and lead to many.
func testHubOfOneLink(t *testing.T, s solver.CacheKeyStorage) {
	for i := range hubSize() {
		noError(t, s.AddLink("hub", hubLink(0), hubNode(i)))
	}
	for i := range hubSize() {
		noError(t, s.AddLink("hub", hubLink(0), hubNode(i)))
		if !s.HasLink("hub", hubLink(0), hubNode(i)) || s.HasLink("hub", hubLink(0), hubNode(hubSize()+i)) {
			t.Fatalf("link %d is wrong", i)
		}
	}
	got, err := storageTargets(s, "hub", hubLink(0))
	if err != nil || len(got) != hubSize() {
		t.Fatalf("%d targets, %v", len(got), err)
	}
}

// testHubReleasedPiecemeal: the targets of a hub are released one by one, and so
// are the results of a node.
func testHubReleasedPiecemeal(t *testing.T, s solver.CacheKeyStorage) {
	res := func(i int) string { return fmt.Sprint("r", i) }
	for i := range hubSize() {
		noError(t, s.AddLink("hub", hubLink(0), hubNode(i)))
		noError(t, s.AddResult(hubNode(i), someResult(res(i))))
		noError(t, s.AddResult("many", someResult(res(i))))
	}
	for i := range hubSize() - 1 {
		noError(t, s.Release(res(i)))
	}
	wantNodes(t, s, "hub", hubNode(hubSize()-1), "many")
	wantTargets(t, s, "hub", hubLink(0), hubNode(hubSize()-1))
	noError(t, s.Release(res(hubSize()-1)))
	wantNodes(t, s)
}

func testLongChainReleased(t *testing.T, s solver.CacheKeyStorage) {
	for i := range hubSize() {
		noError(t, s.AddLink(hubNode(i), hubLink(0), hubNode(i+1)))
	}
	noError(t, s.AddResult(hubNode(hubSize()), someResult("r")))
	noError(t, s.Release("r"))
	wantNodes(t, s)
}

// testConcurrent: several goroutines do everything at once. Each has nodes of
// its own, of which it knows what to expect, and all share some.
func testConcurrent(t *testing.T, s solver.CacheKeyStorage) {
	const workers, rounds = 8, 100
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { errs[w] = concurrentWorker(s, w, rounds) })
	}
	wg.Wait()
	noError(t, errors.Join(errs...))
	noError(t, checkStorage(s))
	for w := range workers {
		wantResults(t, s, fmt.Sprint("own", w), fmt.Sprint("keep", w))
		wantHolders(t, s, fmt.Sprint("temp", w))
	}
}

func concurrentWorker(s solver.CacheKeyStorage, w, rounds int) error {
	own, temp := fmt.Sprint("own", w), fmt.Sprint("temp", w)
	for i := range rounds {
		shared := fmt.Sprint("shared", i%5)
		err := errors.Join(
			s.AddResult(own, someResult(fmt.Sprint("keep", w))),
			s.AddResult(own, someResult(temp)),
			s.AddResult(shared, someResult(temp)),
			s.AddResult(shared, someResult("common")),
			s.AddLink(own, someLink("op"), shared),
			s.AddLink(shared, someLink(own), own),
		)
		if err != nil {
			return err
		}
		if _, err := s.Load(own, temp); err != nil {
			return fmt.Errorf("a result that was just added: %w", err)
		}
		if !s.HasLink(shared, someLink(own), own) {
			return errors.New("a link that was just added is not there")
		}
		for _, walk := range walks(s) {
			if err := walk(func() error { return nil }); err != nil {
				return err
			}
		}
		if _, err := storageBacklinks(s, shared); err != nil {
			return err
		}
		if err := s.Release(temp); err != nil {
			return err
		}
		if _, err := s.Load(own, temp); !errors.Is(err, solver.ErrNotFound) {
			return fmt.Errorf("a result that was just released: %v", err)
		}
		if i%10 == 0 {
			if err := s.Release("common"); err != nil {
				return err
			}
		}
	}
	return nil
}
