package solvertest

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// walks runs each kind of walk over a storage that buildWalks has filled, each
// of which has several things to visit, with a callback.
func walks(s solver.CacheKeyStorage) map[string]func(fn func() error) error {
	return map[string]func(fn func() error) error{
		"Walk":            func(fn func() error) error { return s.Walk(func(string) error { return fn() }) },
		"WalkResults":     func(fn func() error) error { return s.WalkResults("a", func(solver.CacheResult) error { return fn() }) },
		"WalkIDsByResult": func(fn func() error) error { return s.WalkIDsByResult("r0", func(string) error { return fn() }) },
		"WalkLinks": func(fn func() error) error {
			return s.WalkLinks("a", someLink("op"), func(string) error { return fn() })
		},
		"WalkBacklinks": func(fn func() error) error {
			return s.WalkBacklinks("z", func(string, solver.CacheInfoLink) error { return fn() })
		},
	}
}

func buildWalks(t *testing.T, s solver.CacheKeyStorage) {
	for i := range 10 {
		id := fmt.Sprint("n", i)
		noError(t, errors.Join(s.AddResult("a", someResult(fmt.Sprint("r", i))), s.AddResult(id, someResult("r0")),
			s.AddLink("a", someLink("op"), id), s.AddLink(id, someLink("op"), "z")))
	}
}

func testCallbackErrors(t *testing.T, s solver.CacheKeyStorage) {
	buildWalks(t, s)
	stop := errors.New("stop")
	for name, walk := range walks(s) {
		calls := 0
		err := walk(func() error {
			if calls++; calls == 3 {
				return stop
			}
			return nil
		})
		if err != stop || calls != 3 {
			t.Errorf("%s: got %v after %d calls, want the callback's error after 3", name, err, calls)
		}
	}
}

func testCallbacksRead(t *testing.T, s solver.CacheKeyStorage) {
	buildWalks(t, s)
	for name, walk := range walks(s) {
		calls := 0
		err := walk(func() error {
			calls++
			for _, inner := range walks(s) {
				if err := inner(func() error { return nil }); err != nil {
					return err
				}
			}
			if _, err := s.Load("a", "r1"); err != nil || !s.Exists("a") || !s.HasLink("a", someLink("op"), "n1") {
				return fmt.Errorf("what is there is not found (%v)", err)
			}
			return nil
		})
		if err != nil || calls < 10 {
			t.Errorf("%s: %d calls, %v", name, calls, err)
		}
	}
}

// testCallbacksWrite: a callback may change what is being walked, and the walk
// comes to an end.
func testCallbacksWrite(t *testing.T, s solver.CacheKeyStorage) {
	for name, walk := range walks(s) {
		buildWalks(t, s)
		calls := 0
		err := walk(func() error {
			if calls++; calls > 1000 {
				return errors.New("the walk does not end")
			}
			id := fmt.Sprint("new", calls)
			if calls == 1 {
				if err := s.Release("r5"); err != nil {
					return err
				}
			}
			return errors.Join(s.AddResult("a", someResult(id)), s.AddResult(id, someResult("r0")),
				s.AddLink("a", someLink("op"), id), s.AddLink(id, someLink("op"), "z"))
		})
		if err != nil || calls < 9 {
			t.Errorf("%s: %d calls, %v", name, calls, err)
		}
	}
	for _, from := range []string{"n1", "new1"} {
		if !s.HasLink(from, someLink("op"), "z") {
			t.Errorf("there is no link from %s", from)
		}
	}
}

// testConcurrent: several goroutines do everything at once. Each has nodes of
// its own, of which it knows what to expect, and all share some.
func testConcurrent(t *testing.T, s solver.CacheKeyStorage) {
	err := concurrently(8, 100, func(i int) error { return concurrentRound(s, i/1000, i%1000) })
	noError(t, errors.Join(err, checkStorage(s)))
	for w := range 8 {
		own, err := results(s, fmt.Sprint("own", w))
		noError(t, differ("results", own, err, []string{resultText(someResult(fmt.Sprint("keep", w)))}, nil))
		left, err := holders(s, fmt.Sprint("temp", w))
		noError(t, differ("holders", left, err, nil, nil))
	}
}

func concurrentRound(s solver.CacheKeyStorage, w, i int) error {
	own, temp, shared := fmt.Sprint("own", w), fmt.Sprint("temp", w), fmt.Sprint("shared", i%5)
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
	if _, err := s.Load(own, temp); err != nil || !s.HasLink(shared, someLink(own), own) {
		return fmt.Errorf("what was just added is not there (%v)", err)
	}
	for _, walk := range walks(s) {
		if err := walk(func() error { return nil }); err != nil {
			return err
		}
	}
	if _, err := backlinks(s, shared); err != nil {
		return err
	}
	if err := s.Release(temp); err != nil {
		return err
	}
	if _, err := s.Load(own, temp); !errors.Is(err, solver.ErrNotFound) {
		return fmt.Errorf("a result that was just released: %v", err)
	}
	if i%10 == 0 {
		return s.Release("common")
	}
	return nil
}

// hubSize is how many links a node can have without a look-up noticing. It is
// smaller where tests are slow.
func hubSize() int {
	info, _ := debug.ReadBuildInfo()
	if testing.Short() || info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return 10_000
	}
	return 100_000
}

func fixed(int) string                 { return "hub" }
func hubNode(i int) string             { return fmt.Sprint("node-", i) }
func oneLink(int) solver.CacheInfoLink { return hubLink(0) }

func hubLink(i int) solver.CacheInfoLink {
	return solver.CacheInfoLink{Digest: digest.Digest(fmt.Sprintf("sha256:%064x", i))}
}

// hub is a node with many links.
type hub struct {
	from, to func(i int) string
	link     func(i int) solver.CacheInfoLink
	left     int // nodes, when what link 7 leads to is left
}

func hubTest(h hub) func(*testing.T, solver.CacheKeyStorage) {
	return func(t *testing.T, s solver.CacheKeyStorage) {
		n := hubSize()
		for i := range n {
			noError(t, s.AddLink(h.from(i), h.link(i), h.to(i)))
		}
		oneToMany := h.from(0) == h.from(1) && h.link(0) == h.link(1)
		for i := range n {
			noError(t, s.AddLink(h.from(i), h.link(i), h.to(i)))
			if !s.HasLink(h.from(i), h.link(i), h.to(i)) || s.HasLink(h.from(i), h.link(i), "none") || s.HasLink(h.from(i), hubLink(n+i), h.to(i)) {
				t.Fatalf("link %d is wrong", i)
			}
			if !oneToMany || i == 0 {
				want := 1
				if oneToMany {
					want = n
				}
				if got, err := targets(s, h.from(i), h.link(i)); err != nil || len(got) != want || count(got, h.to(i)) != 1 {
					t.Fatalf("link %d leads to %.20q (%v)", i, got, err)
				}
			}
			noError(t, s.AddResult(h.to(i), someResult("shared")))
		}
		noError(t, s.AddResult(h.to(7), someResult("own")))
		if h.to(0) == h.to(1) {
			if sources, err := backlinks(s, h.to(0)); err != nil || len(sources) != n {
				t.Fatalf("%d links to the hub, %v", len(sources), err)
			}
		}
		noError(t, s.Release("shared"))
		wantNodes(t, s, h.left)
		noError(t, s.Release("own"))
		wantNodes(t, s, 0)
	}
}

func wantNodes(t *testing.T, s solver.CacheKeyStorage, n int) {
	t.Helper()
	if ids, err := list(s.Walk); err != nil || len(ids) != n {
		t.Fatalf("the %d nodes %.20q are there (%v), want %d", len(ids), ids, err, n)
	}
}

// testHubReleasedPiecemeal: the targets of a hub are released one by one, and so
// are the results of a node.
func testHubReleasedPiecemeal(t *testing.T, s solver.CacheKeyStorage) {
	res := func(i int) string { return fmt.Sprint("r", i) }
	for i := range hubSize() {
		noError(t, errors.Join(s.AddLink("hub", hubLink(0), hubNode(i)),
			s.AddResult(hubNode(i), someResult(res(i))), s.AddResult("many", someResult(res(i)))))
	}
	for i := range hubSize() - 1 {
		noError(t, s.Release(res(i)))
	}
	wantNodes(t, s, 3)
	got, err := targets(s, "hub", hubLink(0))
	noError(t, differ("targets", got, err, []string{hubNode(hubSize() - 1)}, nil))
	noError(t, s.Release(res(hubSize()-1)))
	wantNodes(t, s, 0)
}

func testLongChainReleased(t *testing.T, s solver.CacheKeyStorage) {
	for i := range hubSize() {
		noError(t, s.AddLink(hubNode(i), hubLink(0), hubNode(i+1)))
	}
	noError(t, s.AddResult(hubNode(hubSize()), someResult("r")))
	noError(t, s.Release("r"))
	wantNodes(t, s, 0)
}
