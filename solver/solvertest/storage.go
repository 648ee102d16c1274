package solvertest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
)

// CacheKeyStorage proves an implementation of solver.CacheKeyStorage. open
// returns a storage that is empty, and sees to it that it is closed when the
// test ends. It is called many times.
//
//	func TestStorage(t *testing.T) {
//		solvertest.CacheKeyStorage(t, func(t *testing.T) solver.CacheKeyStorage {
//			return NewMyStorage(t.TempDir())
//		})
//	}
//
// Run it with -race too. Where a test compares with the model at random, it
// names the seed that failed. What is linear by contract is tried on nodes with
// 100,000 links (10,000 with -short and with -race): an implementation for which
// that takes minutes is not linear.
func CacheKeyStorage(t *testing.T, open func(t *testing.T) solver.CacheKeyStorage) {
	tests := []struct {
		name string
		run  func(*testing.T, solver.CacheKeyStorage)
	}{
		{"Empty", testEmpty},
		{"Results", testResults},
		{"ResultReplaced", testResultReplaced},
		{"ResultTimes", testResultTimes},
		{"ManyResults", testManyResults},
		{"ResultOnManyNodes", testResultOnManyNodes},
		{"Links", testLinks},
		{"LinksAreExact", testLinksAreExact},
		{"LinkToItself", testLinkToItself},
		{"Backlinks", testBacklinks},
		{"OddNames", testOddNames},
		{"Release", testRelease},
		{"ReleaseChain", testReleaseChain},
		{"ReleaseDiamond", testReleaseDiamond},
		{"ReleaseShared", testReleaseShared},
		{"ReleaseKeepsEnds", testReleaseKeepsEnds},
		{"ReleaseAndAddAgain", testReleaseAndAddAgain},
		{"ReleaseCycle", testReleaseCycle},
		{"CallbackErrors", testCallbackErrors},
		{"CallbacksRead", testCallbacksRead},
		{"CallbacksWrite", testCallbacksWrite},
		{"Concurrent", testConcurrent},
		{"HubAsSource", testHubAsSource},
		{"HubAsTarget", testHubAsTarget},
		{"HubOfOneLink", testHubOfOneLink},
		{"HubReleasedPiecemeal", testHubReleasedPiecemeal},
		{"LongChainReleased", testLongChainReleased},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
	t.Run("Random", func(t *testing.T) { testRandom(t, open) })
	t.Run("RandomCycles", func(t *testing.T) { testRandomCycles(t, open) })
}

// Shorthands of the tests.

var testTime = time.Date(2024, 2, 29, 23, 59, 58, 123456789, time.UTC)

func someResult(id string) solver.CacheResult {
	return solver.CacheResult{ID: id, CreatedAt: testTime}
}

func someLink(op string) solver.CacheInfoLink {
	return solver.CacheInfoLink{Digest: digest.FromString(op)}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIDs(t *testing.T, what string, got []string, err error, want ...string) {
	t.Helper()
	noError(t, err)
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %.20q, want %.20q", what, got, want)
	}
}

func wantNodes(t *testing.T, s solver.CacheKeyStorage, want ...string) {
	t.Helper()
	got, err := storageNodes(s)
	wantIDs(t, "nodes", got, err, want...)
	for _, id := range want {
		if !s.Exists(id) {
			t.Fatalf("node %q does not exist", id)
		}
	}
}

func wantGone(t *testing.T, s solver.CacheKeyStorage, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if s.Exists(id) {
			t.Fatalf("node %q exists", id)
		}
		got, err := storageResults(s, id)
		noError(t, err)
		sources, err := storageBacklinks(s, id)
		noError(t, err)
		if len(got)+len(sources) > 0 {
			t.Fatalf("node %q is gone, and has results %v and links from %v", id, got, sources)
		}
	}
}

func wantResults(t *testing.T, s solver.CacheKeyStorage, id string, want ...string) {
	t.Helper()
	list, err := storageResults(s, id)
	var got []string
	for _, res := range list {
		got = append(got, res.ID)
		loaded, err := s.Load(id, res.ID)
		if err != nil || loaded.ID != res.ID || !loaded.CreatedAt.Equal(res.CreatedAt) {
			t.Fatalf("Load(%q, %q): got %v (%v), want %v", id, res.ID, loaded, err, res)
		}
	}
	wantIDs(t, fmt.Sprintf("results of %q", id), got, err, want...)
}

func wantTargets(t *testing.T, s solver.CacheKeyStorage, id string, l solver.CacheInfoLink, want ...string) {
	t.Helper()
	got, err := storageTargets(s, id, l)
	wantIDs(t, fmt.Sprintf("targets of %q", id), got, err, want...)
	for _, target := range want {
		if !s.HasLink(id, l, target) {
			t.Fatalf("there is no link from %q to %q", id, target)
		}
	}
}

func wantHolders(t *testing.T, s solver.CacheKeyStorage, resultID string, want ...string) {
	t.Helper()
	got, err := storageHolders(s, resultID)
	wantIDs(t, fmt.Sprintf("nodes with %q", resultID), got, err, want...)
}

// storageLink is a link as WalkBacklinks reports it.
type storageLink struct {
	from string
	link solver.CacheInfoLink
}

func compareBacklinks(a, b storageLink) int {
	return cmp.Or(
		cmp.Compare(a.from, b.from),
		cmp.Compare(a.link.Digest, b.link.Digest),
		cmp.Compare(a.link.Selector, b.link.Selector),
		cmp.Compare(a.link.Input, b.link.Input),
		cmp.Compare(a.link.Output, b.link.Output),
	)
}

func wantBacklinks(t *testing.T, s solver.CacheKeyStorage, id string, want ...storageLink) {
	t.Helper()
	got, err := storageBacklinks(s, id)
	noError(t, err)
	slices.SortFunc(got, compareBacklinks)
	want = slices.SortedFunc(slices.Values(want), compareBacklinks)
	if !slices.Equal(got, want) {
		t.Fatalf("links to %q: got %v, want %v", id, got, want)
	}
}

func wantNotFound(t *testing.T, s solver.CacheKeyStorage, id, resultID string) {
	t.Helper()
	if _, err := s.Load(id, resultID); !errors.Is(err, solver.ErrNotFound) {
		t.Fatalf("Load(%q, %q): got %v, want ErrNotFound", id, resultID, err)
	}
}

// What a storage says, as lists.

func storageNodes(s solver.CacheKeyStorage) (out []string, err error) {
	err = s.Walk(func(id string) error {
		out = append(out, id)
		return nil
	})
	return out, err
}

func storageResults(s solver.CacheKeyStorage, id string) (out []solver.CacheResult, err error) {
	err = s.WalkResults(id, func(res solver.CacheResult) error {
		out = append(out, res)
		return nil
	})
	return out, err
}

func storageHolders(s solver.CacheKeyStorage, resultID string) (out []string, err error) {
	err = s.WalkIDsByResult(resultID, func(id string) error {
		out = append(out, id)
		return nil
	})
	return out, err
}

func storageTargets(s solver.CacheKeyStorage, id string, l solver.CacheInfoLink) (out []string, err error) {
	err = s.WalkLinks(id, l, func(target string) error {
		out = append(out, target)
		return nil
	})
	return out, err
}

func storageBacklinks(s solver.CacheKeyStorage, id string) (out []storageLink, err error) {
	err = s.WalkBacklinks(id, func(from string, l solver.CacheInfoLink) error {
		out = append(out, storageLink{from, l})
		return nil
	})
	return out, err
}
