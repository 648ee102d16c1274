package solvertest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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
// Run it with -race too. Most tests make the same changes to the storage and to a
// StorageModel, and compare all answers. What is linear by contract is tried on nodes with
// 100,000 links (10,000 with -short and with -race): an implementation for which
// that takes minutes is not linear.
func CacheKeyStorage(t *testing.T, open func(t *testing.T) solver.CacheKeyStorage) {
	for _, sc := range scripts {
		t.Run(sc.name, func(t *testing.T) { compare(t, open(t), script(sc.ops), 1) })
	}
	for name, ops := range generated() {
		t.Run(name, func(t *testing.T) { compare(t, open(t), ops, max(1, len(ops)/20)) })
	}
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("Random/", seed), func(t *testing.T) {
			if ops := random(seed); seed%2 == 0 {
				compare(t, open(t), ops, 10)
			} else { // what went with a cycle is to be known before it may come back
				compare(t, open(t), ops[:100], 1)
			}
		})
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T, solver.CacheKeyStorage)
	}{
		{"CallbackErrors", testCallbackErrors},
		{"CallbacksRead", testCallbacksRead},
		{"CallbacksWrite", testCallbacksWrite},
		{"Concurrent", testConcurrent},
		{"HubAsSource", hubTest(hub{from: fixed, link: hubLink, to: hubNode, left: 2})},
		{"HubAsTarget", hubTest(hub{from: hubNode, link: oneLink, to: fixed, left: hubSize() + 1})},
		{"HubOfOneLink", hubTest(hub{from: fixed, link: oneLink, to: hubNode, left: 2})},
		{"HubReleasedPiecemeal", testHubReleasedPiecemeal},
		{"LongChainReleased", testLongChainReleased},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// scripts are changes: "a=r" adds result r to node a, made a second later than the one
// before; "a>b" links a to b by an operation, "a-x>b" by another one; "!r" releases a
// result.
var scripts = []struct{ name, ops string }{
	{"Empty", "!r"},
	{"Results", "a=r1 a=r2 b=r2"},
	{"ResultReplaced", "a=r1 a=r2 a=r1 b=r1 a=r1 a=r2 !r1"},
	{"Links", "a>b a>c b>c a>b a>c b>c"}, // repeating changes nothing
	{"LinkToItself", "a=r a>a a>a !r"},
	{"Release", "a=r1 a=r2 !unknown !r1 !r1 !r2"},
	// A chain ends at its last result.
	{"ReleaseChain", "a>b b>c c>d d>e e=top c=middle !middle c=middle !top !middle"},
	{"ReleaseDiamond", "root-l>left root-r>right left>top right>top right>side top=t side=s !t !s"},
	{"ReleaseShared", "root-a>a root-b>b root-c>c a=shared b=shared c=shared b=own !shared !own"},
	// What never had a result is not removed for having none.
	{"ReleaseKeepsEnds", "a>end a>b b>c c=r !r end=r !r"},
	// What was removed and comes back is new.
	{"ReleaseAndAddAgain", strings.Repeat("a>b x>b b=r b=q !r b=r !q !r b=p !p ", 3)},
	// Equal keys make cycles. What leads to a result stays.
	{"ReleaseCycle", "in>a a>b b>c c>a c>c c>out b=r out=o !r !o a=new c>a"},
}

var testTime = time.Date(2024, 2, 29, 23, 59, 58, 123456789, time.UTC)

func someResult(id string) solver.CacheResult {
	return solver.CacheResult{ID: id, CreatedAt: testTime}
}

func someLink(op string) solver.CacheInfoLink {
	return solver.CacheInfoLink{Digest: digest.FromString(op)}
}

func addResult(id, result string) StorageOp {
	return StorageOp{Kind: "AddResult", ID: id, Result: someResult(result)}
}

func addLink(from string, link solver.CacheInfoLink, to string) StorageOp {
	return StorageOp{Kind: "AddLink", ID: from, Link: link, Target: to}
}

func release(result string) StorageOp { return StorageOp{Kind: "Release", Result: someResult(result)} }

// script makes changes of a text.
func script(text string) (ops []StorageOp) {
	for i, word := range strings.Fields(text) {
		if result, ok := strings.CutPrefix(word, "!"); ok {
			ops = append(ops, release(result))
		} else if from, to, ok := strings.Cut(word, ">"); ok {
			from, by, _ := strings.Cut(from, "-")
			ops = append(ops, addLink(from, someLink(by), to))
		} else {
			id, result, _ := strings.Cut(word, "=")
			op := addResult(id, result)
			op.Result.CreatedAt = testTime.Add(time.Duration(i) * time.Second)
			ops = append(ops, op)
		}
	}
	return ops
}

// generated are longer lists of changes.
func generated() map[string][]StorageOp {
	const n = 300
	var many, shared, back, times, exact, odd []StorageOp
	for i := range n {
		many = append(many, addResult("a", fmt.Sprint("r", i)))
		shared = append(shared, addResult(fmt.Sprint("n", i), "r"))
	}
	for i := range n {
		many = append(many, release(fmt.Sprint("r", i)))
	}
	shared = append(shared, addResult("n7", "other"), release("r"))
	for i := range 40 {
		l := solver.CacheInfoLink{Input: solver.Index(i), Digest: digest.FromString("op")}
		back = append(back, addLink(fmt.Sprint("n", i%10), l, "hub"), addLink(fmt.Sprint("n", i%10), l, "other"))
	}
	// An instant is kept to the nanosecond. Its zone may be lost.
	for i, at := range []time.Time{
		{}, time.Unix(0, 0), time.Unix(-1, 999999999), time.Now(),
		time.Date(1677, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(2300, 1, 1, 0, 0, 0, 0, time.FixedZone("", -9000)),
	} {
		times = append(times, StorageOp{Kind: "AddResult", ID: "a", Result: solver.CacheResult{ID: fmt.Sprint("r", i), CreatedAt: at}})
	}
	// Links that differ in anything are different links.
	d1, d2 := digest.FromString("1"), digest.FromString("2")
	for i, l := range []solver.CacheInfoLink{
		{}, {Digest: d1}, {Digest: d2}, {Digest: "random:" + d1}, {Selector: d1}, {Digest: d1, Selector: d1}, {Digest: d1, Selector: d2},
		{Digest: d1, Input: 1}, {Digest: d1, Output: 1}, {Digest: d1, Output: -1}, {Digest: d1, Input: 1, Output: 1},
		{Digest: d1, Input: 1 << 30}, {Digest: d1, Input: 1, Output: 1, Selector: d2},
	} {
		exact = append(exact, addLink("a", l, fmt.Sprint("t", i)), addLink("a", l, "all"))
	}
	// An ID is any string that is not empty.
	hex64 := strings.Repeat("0123456789abcdef", 4)
	names := []string{
		"x", "\x00", "\x00\x00", "a\x00b", "\xff\xfe", "ü/../\n", " ", "a@1", "@",
		"sha256:" + hex64, "sha256:" + strings.ToUpper(hex64), "sha256:" + hex64[:63] + "g", "sha256:" + hex64 + "@1", "random:" + hex64,
		"sha512:" + hex64 + hex64, hex64,
		strings.Repeat("A", 43), strings.Repeat("A", 42) + "B", strings.Repeat("A", 42) + "=", strings.Repeat("A", 42) + "\n", strings.Repeat("_", 42) + "8",
		strings.Repeat("long", 20_000),
	}
	for i, name := range names {
		l := solver.CacheInfoLink{Digest: digest.Digest(name), Selector: digest.Digest(names[0])}
		odd = append(odd, addResult(name, name), addLink(name, l, names[(i+1)%len(names)]))
	}
	return map[string][]StorageOp{
		"ManyResults": many, "ResultOnManyNodes": shared, "Backlinks": slices.Concat(back, back), "ResultTimes": times,
		"LinksAreExact": exact, "OddNames": odd,
	}
}

// random are changes of a graph that has cycles in half of the seeds.
func random(seed uint64) (ops []StorageOp) {
	rng := rand.New(rand.NewPCG(seed, 1))
	n := 2 + rng.IntN(40)
	for range 300 {
		op := RandomStorageOp(rng, n)
		if op.Kind == "AddLink" && seed%2 == 1 {
			op.Target = opNode(rng.IntN(n))
		}
		ops = append(ops, op)
	}
	return ops
}

// compare makes changes to a storage and to a model, and compares their answers after each
// so many of them.
func compare(t *testing.T, got solver.CacheKeyStorage, ops []StorageOp, every int) {
	want, u := NewStorageModel(), universe(ops)
	for i, op := range ops {
		noError(t, op.Apply(want))
		err := op.Apply(got)
		if last := i == len(ops)-1; err == nil && (i%every == 0 || last) {
			want.forget(got)
			if err = DiffStorage(got, want); err == nil && (last || u.small()) {
				err = u.diff(got, want)
			}
		}
		if err != nil {
			t.Fatalf("change %d, %.200v: %v", i, op, err)
		}
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
