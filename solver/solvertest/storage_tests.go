package solvertest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
)

func testEmpty(t *testing.T, s solver.CacheKeyStorage) {
	wantNodes(t, s)
	wantGone(t, s, "a")
	wantNotFound(t, s, "a", "r")
	wantTargets(t, s, "a", someLink("op"))
	wantHolders(t, s, "r")
	if s.HasLink("a", someLink("op"), "b") {
		t.Fatal("an empty storage has a link")
	}
	noError(t, s.Release("r"))
}

func testResults(t *testing.T, s solver.CacheKeyStorage) {
	noError(t, s.AddResult("a", someResult("r1")))
	noError(t, s.AddResult("a", someResult("r2")))
	noError(t, s.AddResult("b", someResult("r2")))
	wantNodes(t, s, "a", "b")
	wantResults(t, s, "a", "r1", "r2")
	wantResults(t, s, "b", "r2")
	wantResults(t, s, "c")
	wantHolders(t, s, "r1", "a")
	wantHolders(t, s, "r2", "a", "b")
	wantHolders(t, s, "r3")
	wantNotFound(t, s, "a", "r3")
	wantNotFound(t, s, "b", "r1")
	wantNotFound(t, s, "c", "r1")
}

func testResultReplaced(t *testing.T, s solver.CacheKeyStorage) {
	for i := range 20 {
		noError(t, s.AddResult("a", someResult(fmt.Sprint("r", i))))
	}
	for i := range 20 {
		newer := solver.CacheResult{ID: fmt.Sprint("r", i), CreatedAt: testTime.Add(time.Duration(i) * time.Hour)}
		noError(t, s.AddResult("a", newer))
		got, err := s.Load("a", newer.ID)
		if err != nil || !got.CreatedAt.Equal(newer.CreatedAt) {
			t.Fatalf("got %v (%v), want %v", got, err, newer)
		}
	}
	if got, err := storageResults(s, "a"); len(got) != 20 || err != nil {
		t.Fatalf("%d results after each of 20 was replaced (%v)", len(got), err)
	}
	wantHolders(t, s, "r3", "a")
}

// testResultTimes: an instant is kept to the nanosecond. Its zone may be lost.
func testResultTimes(t *testing.T, s solver.CacheKeyStorage) {
	times := []time.Time{
		{},
		time.Unix(0, 0),
		time.Unix(-1, 999999999),
		time.Now(),
		time.Date(1677, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Date(2300, 1, 1, 0, 0, 0, 0, time.FixedZone("", -9000)),
	}
	for i, at := range times {
		id := fmt.Sprint("r", i)
		noError(t, s.AddResult("a", solver.CacheResult{ID: id, CreatedAt: at}))
		got, err := s.Load("a", id)
		if err != nil || !got.CreatedAt.Equal(at) || got.CreatedAt.IsZero() != at.IsZero() {
			t.Errorf("got %v (%v), want %v", got.CreatedAt, err, at)
		}
	}
}

func testManyResults(t *testing.T, s solver.CacheKeyStorage) {
	const n = 300
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint("r", i))
		noError(t, s.AddResult("a", someResult(want[i])))
	}
	wantResults(t, s, "a", want...)
	for i := range n - 1 {
		noError(t, s.Release(want[i]))
		wantNotFound(t, s, "a", want[i])
	}
	wantResults(t, s, "a", want[n-1])
	noError(t, s.Release(want[n-1]))
	wantNodes(t, s)
}

func testResultOnManyNodes(t *testing.T, s solver.CacheKeyStorage) {
	var want []string
	for i := range 300 {
		want = append(want, fmt.Sprint("n", i))
		noError(t, s.AddResult(want[i], someResult("r")))
	}
	noError(t, s.AddResult("n7", someResult("other")))
	wantHolders(t, s, "r", want...)
	noError(t, s.Release("r"))
	wantHolders(t, s, "r")
	wantNodes(t, s, "n7")
	wantResults(t, s, "n7", "other")
}

func testLinks(t *testing.T, s solver.CacheKeyStorage) {
	for range 2 { // repeating changes nothing
		noError(t, s.AddLink("a", someLink("op"), "b"))
		noError(t, s.AddLink("a", someLink("op"), "c"))
		noError(t, s.AddLink("b", someLink("op"), "c"))
	}
	wantNodes(t, s, "a", "b", "c")
	wantTargets(t, s, "a", someLink("op"), "b", "c")
	wantTargets(t, s, "b", someLink("op"), "c")
	wantTargets(t, s, "c", someLink("op"))
	wantTargets(t, s, "a", someLink("another"))
	for _, no := range [][2]string{{"b", "a"}, {"c", "a"}, {"a", "a"}, {"a", "x"}, {"x", "a"}} {
		if s.HasLink(no[0], someLink("op"), no[1]) {
			t.Errorf("there is a link from %s to %s", no[0], no[1])
		}
	}
}

// testLinksAreExact: links that differ in anything are different links.
func testLinksAreExact(t *testing.T, s solver.CacheKeyStorage) {
	d1, d2 := digest.FromString("1"), digest.FromString("2")
	all := []solver.CacheInfoLink{
		{},
		{Digest: d1},
		{Digest: d2},
		{Digest: "random:" + d1},
		{Selector: d1},
		{Digest: d1, Selector: d1},
		{Digest: d1, Selector: d2},
		{Digest: d1, Input: 1},
		{Digest: d1, Output: 1},
		{Digest: d1, Output: -1},
		{Digest: d1, Input: 1, Output: 1},
		{Digest: d1, Input: 1 << 30},
		{Digest: d1, Input: 1, Output: 1, Selector: d2},
	}
	for i, l := range all {
		target := fmt.Sprint("t", i)
		if s.HasLink("a", l, target) {
			t.Errorf("%v is taken for another link", l)
		}
		noError(t, s.AddLink("a", l, target))
		noError(t, s.AddLink("a", l, "all"))
	}
	var want []storageLink
	for i, l := range all {
		wantTargets(t, s, "a", l, fmt.Sprint("t", i), "all")
		wantBacklinks(t, s, fmt.Sprint("t", i), storageLink{"a", l})
		want = append(want, storageLink{"a", l})
	}
	wantBacklinks(t, s, "all", want...)
}

func testLinkToItself(t *testing.T, s solver.CacheKeyStorage) {
	noError(t, s.AddResult("a", someResult("r")))
	noError(t, s.AddLink("a", someLink("op"), "a"))
	noError(t, s.AddLink("a", someLink("op"), "a"))
	wantNodes(t, s, "a")
	wantTargets(t, s, "a", someLink("op"), "a")
	wantBacklinks(t, s, "a", storageLink{"a", someLink("op")})
}

func testBacklinks(t *testing.T, s solver.CacheKeyStorage) {
	var want []storageLink
	for i := range 40 {
		bl := storageLink{fmt.Sprint("n", i%10), solver.CacheInfoLink{Input: solver.Index(i), Digest: digest.FromString("op")}}
		for range 2 {
			noError(t, s.AddLink(bl.from, bl.link, "hub"))
			noError(t, s.AddLink(bl.from, bl.link, "other"))
		}
		want = append(want, bl)
	}
	wantBacklinks(t, s, "hub", want...)
	wantBacklinks(t, s, "other", want...)
	wantBacklinks(t, s, "n1")
	wantBacklinks(t, s, "unknown")
}

// testOddNames: an ID is any string that is not empty.
func testOddNames(t *testing.T, s solver.CacheKeyStorage) {
	hex64 := strings.Repeat("0123456789abcdef", 4)
	names := []string{
		"x", "\x00", "\x00\x00", "a\x00b", "\xff\xfe", "ü/../\n", " ", "a@1", "@",
		"sha256:" + hex64, "sha256:" + strings.ToUpper(hex64), "sha256:" + hex64[:63] + "g", "sha256:" + hex64 + "@1", "random:" + hex64,
		"sha512:" + hex64 + hex64, hex64,
		strings.Repeat("A", 43), strings.Repeat("A", 42) + "B", strings.Repeat("A", 42) + "=", strings.Repeat("A", 42) + "\n", strings.Repeat("_", 42) + "8",
		strings.Repeat("long", 20_000),
	}
	for i, name := range names {
		noError(t, s.AddResult(name, someResult(name)))
		noError(t, s.AddLink(name, solver.CacheInfoLink{Digest: digest.Digest(name), Selector: digest.Digest(names[0])}, names[(i+1)%len(names)]))
	}
	wantNodes(t, s, names...)
	for i, name := range names {
		l := solver.CacheInfoLink{Digest: digest.Digest(name), Selector: digest.Digest(names[0])}
		wantResults(t, s, name, name)
		wantHolders(t, s, name, name)
		wantTargets(t, s, name, l, names[(i+1)%len(names)])
		wantBacklinks(t, s, names[(i+1)%len(names)], storageLink{name, l})
	}
}

var errStop = errors.New("stop")

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
		noError(t, s.AddResult("a", someResult(fmt.Sprint("r", i))))
		noError(t, s.AddResult(id, someResult("r0")))
		noError(t, s.AddLink("a", someLink("op"), id))
		noError(t, s.AddLink(id, someLink("op"), "z"))
	}
}

func testCallbackErrors(t *testing.T, s solver.CacheKeyStorage) {
	buildWalks(t, s)
	for name, walk := range walks(s) {
		calls := 0
		err := walk(func() error {
			if calls++; calls == 3 {
				return errStop
			}
			return nil
		})
		if err != errStop || calls != 3 {
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
			if _, err := s.Load("a", "r1"); err != nil {
				return err
			}
			if !s.Exists("a") || !s.HasLink("a", someLink("op"), "n1") {
				return errors.New("what is there is not found")
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
	for _, name := range []string{"Walk", "WalkResults", "WalkIDsByResult", "WalkLinks", "WalkBacklinks"} {
		buildWalks(t, s)
		calls := 0
		err := walks(s)[name](func() error {
			if calls++; calls > 1000 {
				return errors.New("the walk does not end")
			}
			id := fmt.Sprint("new", calls)
			if calls == 1 {
				if err := s.Release("r5"); err != nil {
					return err
				}
			}
			return errors.Join(
				s.AddResult("a", someResult(id)),
				s.AddResult(id, someResult("r0")),
				s.AddLink("a", someLink("op"), id),
				s.AddLink(id, someLink("op"), "z"),
			)
		})
		if err != nil || calls < 9 {
			t.Errorf("%s: %d calls, %v", name, calls, err)
		}
	}
	wantBacklinksFrom(t, s, "z", "n1", "new1")
}

func wantBacklinksFrom(t *testing.T, s solver.CacheKeyStorage, id string, from ...string) {
	t.Helper()
	for _, src := range from {
		if !s.HasLink(src, someLink("op"), id) {
			t.Errorf("there is no link from %s to %s", src, id)
		}
	}
}
