package solvertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

func testIdentity(t *testing.T, m Manager) {
	id := m.Cache.ID()
	if id == "" {
		t.Error("the cache has no ID")
	}
	m.mustSave(t, keyOf(t, &Node{ID: "root"}, 0))
	if got := m.Cache.ID(); got != id {
		t.Errorf("the ID was %q, and is %q", id, got)
	}
}

// testRoot: an operation without inputs is known once it was saved.
func testRoot(t *testing.T, m Manager) {
	root, other := keyOf(t, &Node{ID: "root"}, 0), keyOf(t, &Node{ID: "other"}, 0)
	none, err := m.Cache.Query(nil, 0, root.Digest(), 0)
	noError(t, err)
	if len(none) > 0 {
		t.Fatalf("an empty cache has the key %v", none[0])
	}
	if recs, err := m.Cache.Records(root); len(recs) > 0 || err != nil {
		t.Fatalf("an empty cache has the records %v (%v)", recs, err)
	}
	value := m.mustSave(t, root)
	if found := m.wantQuery(t, nil, 0, root.Digest(), 0, value); len(found) != 1 {
		t.Fatalf("one operation has %d keys", len(found))
	}
	m.wantQuery(t, nil, 0, other.Digest(), 0)
	// As an input it leads nowhere yet, and is not an operation that has inputs.
	m.wantQuery(t, keys("", root), 0, other.Digest(), 0)
	m.wantQuery(t, keys("", other), 0, root.Digest(), 0)
	otherValue := m.mustSave(t, other)
	m.wantQuery(t, nil, 0, root.Digest(), 0, value)
	m.wantQuery(t, nil, 0, other.Digest(), 0, otherValue)
}

// testRootOutputs: each output of an operation has a key of its own.
func testRootOutputs(t *testing.T, m Manager) {
	n := &Node{ID: "root", Outputs: 3}
	value := m.mustSave(t, keyOf(t, n, 1))
	m.wantQuery(t, nil, 0, opDigest(n), 0)
	m.wantQuery(t, nil, 0, opDigest(n), 1, value)
	m.wantQuery(t, nil, 0, opDigest(n), 2)
	first := m.mustSave(t, keyOf(t, n, 0))
	m.wantQuery(t, nil, 0, opDigest(n), 0, first)
	m.wantQuery(t, nil, 0, opDigest(n), 1, value)
}

// testQueryIsExact: a key is reached by its operation, its output, and the number
// of the input, and by no other.
func testQueryIsExact(t *testing.T, m Manager) {
	a, b := &Node{ID: "a"}, &Node{ID: "b", Outputs: 2}
	n := &Node{ID: "n", Outputs: 2, In: []Input{{Node: a}, {Node: b, Output: 1}}}
	ka, kb := keyOf(t, a, 0), keyOf(t, b, 1)
	value := m.mustSave(t, keyOf(t, n, 1))
	op, another := opDigest(n), opDigest(a)
	m.wantQuery(t, keys("", ka), 0, op, 1, value)
	m.wantQuery(t, keys("", kb), 1, op, 1, value)
	m.wantQuery(t, keys("", ka), 1, op, 1)
	m.wantQuery(t, keys("", kb), 0, op, 1)
	m.wantQuery(t, keys("", ka), 2, op, 1)
	m.wantQuery(t, keys("", ka), 0, op, 0)
	m.wantQuery(t, keys("", kb), 1, op, 0)
	m.wantQuery(t, keys("", ka), 0, another, 1)
	m.wantQuery(t, keys("", keyOf(t, b, 0)), 1, op, 1) // another output of the input
	m.wantQuery(t, nil, 0, op, 1)                      // it has inputs
}

// testQueryBySelector: the same input through two selectors gives two keys.
func testQueryBySelector(t *testing.T, m Manager) {
	base := &Node{ID: "base"}
	through := func(selector string) *Node {
		return &Node{ID: "n" + selector, Key: "n", In: []Input{{Node: base, Selector: selector}}}
	}
	x, y, all := m.mustSave(t, keyOf(t, through("x"), 0)), m.mustSave(t, keyOf(t, through("y"), 0)), m.mustSave(t, keyOf(t, through(""), 0))
	kb, op := keyOf(t, base, 0), opDigest(through(""))
	m.wantQuery(t, keys(selectorDigest("x"), kb), 0, op, 0, x)
	m.wantQuery(t, keys(selectorDigest("y"), kb), 0, op, 0, y)
	m.wantQuery(t, keys(selectorDigest("z"), kb), 0, op, 0)
	m.wantQuery(t, keys("", kb), 0, op, 0, all)
	m.wantQuery(t, slices.Concat(keys(selectorDigest("x"), kb), keys("", kb)), 0, op, 0, x, all)
}

func selectorDigest(s string) digest.Digest { return digest.FromString("selector " + s) }

// testQueryUnion: what any of several keys of an input leads to is found, once.
func testQueryUnion(t *testing.T, m Manager) {
	var inputs []*solver.CacheKey
	var values []string
	for i := range 20 {
		in := &Node{ID: fmt.Sprint("in", i)}
		inputs = append(inputs, keyOf(t, in, 0))
		values = append(values, m.mustSave(t, keyOf(t, &Node{ID: fmt.Sprint("n", i), Key: "n", In: []Input{{Node: in}}}, 0)))
	}
	unknown, op := keyOf(t, &Node{ID: "unknown"}, 0), opDigest(&Node{ID: "n"})
	m.wantQuery(t, keys("", inputs[3]), 0, op, 0, values[3])
	m.wantQuery(t, keys("", inputs[3], inputs[5]), 0, op, 0, values[3], values[5])
	m.wantQuery(t, keys("", inputs[5], unknown, inputs[5], inputs[3]), 0, op, 0, values[3], values[5])
	m.wantQuery(t, keys("", inputs...), 0, op, 0, values...)
	m.wantQuery(t, keys("", unknown), 0, op, 0)
}

// testSeveralInputs: the keys that all inputs share are found by asking for each
// of them.
func testSeveralInputs(t *testing.T, m Manager) {
	a, b, c := &Node{ID: "a"}, &Node{ID: "b"}, &Node{ID: "c"}
	ab := &Node{ID: "ab", Key: "n", In: []Input{{Node: a}, {Node: b}}}
	ac := &Node{ID: "ac", Key: "n", In: []Input{{Node: a}, {Node: c}}}
	vab, vac := m.mustSave(t, keyOf(t, ab, 0)), m.mustSave(t, keyOf(t, ac, 0))
	ka, kb, kc, op := keyOf(t, a, 0), keyOf(t, b, 0), keyOf(t, c, 0), opDigest(ab)
	byA := m.wantQuery(t, keys("", ka), 0, op, 0, vab, vac)
	byB := m.wantQuery(t, keys("", kb), 1, op, 0, vab)
	byC := m.wantQuery(t, keys("", kc), 1, op, 0, vac)
	for _, by := range [][]*solver.CacheKey{byB, byC} {
		if len(by) != 1 || !slices.ContainsFunc(byA, func(k *solver.CacheKey) bool { return k.ID == by[0].ID }) {
			t.Errorf("the inputs do not share a key: the second leads to %v, the first to %v", by, byA)
		}
	}
}

// testContentKeys: a key is reached by the content of its input, which stands
// without the selector, as well as by the definition.
func testContentKeys(t *testing.T, m Manager) {
	base := &Node{ID: "base"}
	n := &Node{ID: "n", In: []Input{{Node: base, Selector: "x", Content: true}}}
	key := keyOf(t, n, 0)
	var content *solver.CacheKey
	for _, alternative := range key.Deps()[0] {
		if k := alternative.CacheKey.CacheKey; k.Output() < 0 {
			content = k
		}
	}
	if content == nil {
		t.Fatal("the solver has made no content key")
	}
	value := m.mustSave(t, key)
	op, kb := opDigest(n), keyOf(t, base, 0)
	// Whoever has computed the same content has a key that is equal to it.
	equal := solver.NewCacheKey(content.Digest(), -1)
	m.wantQuery(t, keys("", equal), 0, op, 0, value)
	m.wantQuery(t, keys(selectorDigest("x"), equal), 0, op, 0)
	m.wantQuery(t, keys(selectorDigest("x"), kb), 0, op, 0, value)
	m.wantQuery(t, keys("", kb), 0, op, 0)
	m.wantQuery(t, slices.Concat(keys(selectorDigest("x"), kb), keys("", equal)), 0, op, 0, value)
	m.wantQuery(t, keys("", solver.NewCacheKey(content.Digest(), 0)), 0, op, 0) // an operation of that digest
	m.wantQuery(t, keys("", solver.NewCacheKey(digest.FromString("other"), -1)), 0, op, 0)
}

// testSavedKeyIsUsable: what Save returns leads to what was saved, as an input to
// what is built on it, and can be exported.
func testSavedKeyIsUsable(t *testing.T, m Manager) {
	base := &Node{ID: "base"}
	n := &Node{ID: "n", In: []Input{{Node: base}}}
	top := &Node{ID: "top", In: []Input{{Node: n}}}
	m.mustSave(t, keyOf(t, base, 0))
	saved, value, err := m.save(keyOf(t, n, 0))
	noError(t, err)
	topValue := m.mustSave(t, keyOf(t, top, 0))
	got, err := m.values([]*solver.CacheKey{saved.CacheKey})
	wantIDs(t, "what the saved key leads to", got, err, value)
	m.wantQuery(t, []solver.CacheKeyWithSelector{{CacheKey: *saved}}, 0, opDigest(top), 0, topValue)
	if saved.Exporter == nil {
		return
	}
	target := &ExportTarget{}
	recs, err := saved.Exporter.ExportTo(context.Background(), target, solver.CacheExportOpt{
		Mode:    solver.CacheExportModeMax,
		Convert: func(context.Context, solver.Result) (*solver.Remote, error) { return &solver.Remote{}, nil },
	})
	noError(t, err)
	if len(recs) == 0 || len(target.Records()) == 0 {
		t.Errorf("an export gave %d records, and added %d", len(recs), len(target.Records()))
	}
}

// testEqualKeysSavedTwice: two builds make equal keys, and save equal results.
func testEqualKeysSavedTwice(t *testing.T, m Manager) {
	base := &Node{ID: "base"}
	n := &Node{ID: "n", In: []Input{{Node: base}}}
	l := m.Results.lend()
	for range 2 {
		_, err := m.Cache.Save(keyOf(t, n, 0), l.handle)
		noError(t, err)
	}
	noError(t, l.kept())
	noError(t, l.giveBack())
	found, err := m.Cache.Query(keys("", keyOf(t, base, 0)), 0, opDigest(n), 0)
	noError(t, err)
	if len(found) != 1 {
		t.Fatalf("equal keys are %d keys", len(found))
	}
	got, err := m.values(found)
	wantIDs(t, "values", slices.Compact(got), err, l.value)
}

// testSeveralUnderOneKey: each result is there, the newest first.
func testSeveralUnderOneKey(t *testing.T, m Manager) {
	base := &Node{ID: "base"}
	n := &Node{ID: "n", In: []Input{{Node: base}}}
	var values []string
	for range 20 {
		values = append(values, m.mustSave(t, keyOf(t, n, 0)))
	}
	found := m.wantQuery(t, keys("", keyOf(t, base, 0)), 0, opDigest(n), 0, values...)
	if len(found) != 1 {
		t.Fatalf("one key has become %d", len(found))
	}
	recs, err := m.records(found[0])
	noError(t, err)
	seen := map[string]bool{}
	for i, rec := range recs {
		if seen[rec.ID] {
			t.Fatalf("two records are called %q", rec.ID)
		}
		seen[rec.ID] = true
		got, err := m.load(rec)
		noError(t, err)
		// Saved within one tick of the clock, they are of the same age.
		distinct := (i == 0 || !rec.CreatedAt.Equal(recs[i-1].CreatedAt)) && (i == len(recs)-1 || !rec.CreatedAt.Equal(recs[i+1].CreatedAt))
		if want := values[len(values)-1-i]; distinct && got != want {
			t.Errorf("record %d is %.100q, and the one saved then is %.100q", i, got, want)
		}
	}
}

func testUnknownRecord(t *testing.T, m Manager) {
	unknown := &solver.CacheRecord{ID: "unknown"}
	for range 2 {
		if got, err := m.load(unknown); !errors.Is(err, solver.ErrNotFound) {
			t.Fatalf("an unknown record: got %.100q (%v), want ErrNotFound", got, err)
		}
		m.mustSave(t, keyOf(t, &Node{ID: "root"}, 0))
	}
}

// testManagerBorrows: what is saved stays its owner's, what is loaded is the
// caller's.
func testManagerBorrows(t *testing.T, m Manager) {
	n := &Node{ID: "root"}
	value := m.mustSave(t, keyOf(t, n, 0))
	found := m.wantQuery(t, nil, 0, opDigest(n), 0, value)
	recs, err := m.records(found[0])
	noError(t, err)
	if len(recs) != 1 {
		t.Fatalf("%d records", len(recs))
	}
	one, err := m.Cache.Load(context.Background(), recs[0])
	noError(t, err)
	other, err := m.Cache.Load(context.Background(), recs[0])
	noError(t, err)
	noError(t, one.Release(context.Background()))
	if got := m.Results.value(other); got != value {
		t.Errorf("with another released: got %.100q, want %.100q", got, value)
	}
	noError(t, other.Release(context.Background()))
	m.wantQuery(t, nil, 0, opDigest(n), 0, value)
}

// saveChain saves a chain, and returns its nodes and values from the root up.
func saveChain(t *testing.T, m Manager, n int) (nodes []*Node, values []string) {
	t.Helper()
	for i := range n {
		node := &Node{ID: fmt.Sprint("link", i)}
		if i > 0 {
			node.In = []Input{{Node: nodes[i-1]}}
		}
		nodes = append(nodes, node)
		values = append(values, m.mustSave(t, keyOf(t, node, 0)))
	}
	return nodes, values
}

// testChain: a record is needed only at the top; and the keys that the cache returns lead up
// a chain.
func testChain(t *testing.T, m Manager) {
	n := &Node{ID: "n", In: []Input{{Node: &Node{ID: "base"}}}}
	top := &Node{ID: "top", In: []Input{{Node: n}}}
	kn := keyOf(t, n, 0)
	m.wantQuery(t, keys("", kn), 0, opDigest(top), 0, m.mustSave(t, keyOf(t, top, 0)))
	m.wantQuery(t, keys("", keyOf(t, n.In[0].Node, 0)), 0, opDigest(top), 0)
	if got, err := m.values([]*solver.CacheKey{kn}); len(got) > 0 || err != nil {
		t.Errorf("a key that was never saved leads to %q (%v)", got, err)
	}
	nodes, values := saveChain(t, m, 10)
	var found []*solver.CacheKey
	for i, n := range nodes {
		if found = m.wantQuery(t, keys("", found...), 0, opDigest(n), 0, values[i]); len(found) != 1 {
			t.Fatalf("link %d of the chain has %d keys", i, len(found))
		}
	}
}

// testRecordPruned: a record whose result is gone leads to nothing, and those
// beside it stay. Loading it once more, however it was come by, is ErrNotFound.
func testRecordPruned(t *testing.T, m Manager) {
	if m.Prune == nil {
		t.Skip("nothing is pruned")
	}
	n := &Node{ID: "root"}
	var values []string
	for range 5 {
		values = append(values, m.mustSave(t, keyOf(t, n, 0)))
	}
	found := m.wantQuery(t, nil, 0, opDigest(n), 0, values...)
	recs, err := m.records(found[0])
	noError(t, err)
	for i, rec := range recs {
		gone, err := m.load(rec)
		noError(t, err)
		m.Prune(rec)
		values = slices.DeleteFunc(values, func(v string) bool { return v == gone })
		for range 2 {
			if got, err := m.load(rec); !errors.Is(err, solver.ErrNotFound) {
				t.Fatalf("a record that is gone: got %.100q (%v), want ErrNotFound", got, err)
			}
			got, err := m.values(found)
			wantIDs(t, fmt.Sprintf("values after %d are gone", i+1), got, err, values...)
		}
		m.wantQuery(t, nil, 0, opDigest(n), 0, values...)
	}
	m.wantQuery(t, nil, 0, opDigest(n), 0, m.mustSave(t, keyOf(t, n, 0)))
}

// testChainPruned: keys without records still lead to what is above them.
func testChainPruned(t *testing.T, m Manager) {
	if m.Prune == nil {
		t.Skip("nothing is pruned")
	}
	nodes, values := saveChain(t, m, 10)
	for i, n := range nodes[:len(nodes)-1] {
		recs, err := m.records(keyOf(t, n, 0))
		noError(t, err)
		for _, rec := range recs {
			m.Prune(rec)
		}
		if got, err := m.values([]*solver.CacheKey{keyOf(t, n, 0)}); len(got) > 0 || err != nil {
			t.Fatalf("link %d is gone, and leads to %q (%v)", i, got, err)
		}
	}
	var found []*solver.CacheKey
	for i, n := range nodes {
		var want []string
		if i == len(nodes)-1 {
			want = values[i:]
		}
		if found = m.wantQuery(t, keys("", found...), 0, opDigest(n), 0, want...); len(found) != 1 {
			t.Fatalf("the chain ends at link %d, which has %d keys", i, len(found))
		}
	}
}

// testManagersOfOneID: managers of one ID are the same cache.
func testManagersOfOneID(t *testing.T, m Manager) {
	if m.Again == nil {
		t.Skip("there is one manager")
	}
	other := m
	other.Cache = m.Again(t)
	if a, b := m.Cache.ID(), other.Cache.ID(); a != b {
		t.Fatalf("the IDs are %q and %q", a, b)
	}
	base := &Node{ID: "base"}
	n := &Node{ID: "n", In: []Input{{Node: base}}}
	baseValue, value := m.mustSave(t, keyOf(t, base, 0)), other.mustSave(t, keyOf(t, n, 0))
	for _, is := range []Manager{m, other} {
		found := is.wantQuery(t, nil, 0, opDigest(base), 0, baseValue)
		is.wantQuery(t, keys("", found...), 0, opDigest(n), 0, value)
	}
	// What one has found, the other can use.
	found := m.wantQuery(t, nil, 0, opDigest(base), 0, baseValue)
	recs, err := m.records(found[0])
	noError(t, err)
	for _, rec := range recs {
		if got, err := other.load(rec); got != baseValue || err != nil {
			t.Errorf("the record of another manager: got %.100q (%v), want %.100q", got, err, baseValue)
		}
	}
	found = other.wantQuery(t, keys("", found...), 0, opDigest(n), 0, value)
	got, err := m.values(found)
	wantIDs(t, "what the key of another manager leads to", got, err, value)
}

// testConcurrentManager: several goroutines save chains of their own on a base
// that they share, and look them up.
func testConcurrentManager(t *testing.T, m Manager) {
	const workers, rounds = 8, 20
	base := &Node{ID: "base"}
	kb := keyOf(t, base, 0)
	tops := make([]*solver.CacheKey, workers*rounds)
	for i := range tops {
		tops[i] = keyOf(t, &Node{ID: fmt.Sprint("n", i), In: []Input{{Node: base}}}, 0)
	}
	noError(t, concurrently(workers, rounds, func(i int) error { return m.concurrentRound(kb, tops[i/1000*rounds+i%1000]) }))
	found, err := m.Cache.Query(nil, 0, kb.Digest(), 0)
	noError(t, err)
	got, err := m.values(found)
	noError(t, err)
	if len(found) != 1 || len(got) != workers*rounds {
		t.Errorf("the base has %d keys with %d results, want 1 with %d", len(found), len(got), workers*rounds)
	}
}

func (m Manager) concurrentRound(base, own *solver.CacheKey) error {
	// Others load this one at once, so it is not asked whether it was kept.
	l := m.Results.lend()
	_, err := m.Cache.Save(base, l.handle)
	if err := errors.Join(err, l.giveBack()); err != nil {
		return err
	}
	_, value, err := m.save(own)
	if err != nil {
		return err
	}
	found, err := m.Cache.Query(nil, 0, base.Digest(), 0)
	if err != nil {
		return err
	}
	if got, err := m.values(found); !slices.Contains(got, l.value) || err != nil {
		return fmt.Errorf("a result that was just saved is not found (%v)", err)
	}
	if found, err = m.Cache.Query(keys("", found...), 0, own.Digest(), 0); err != nil {
		return err
	}
	if got, err := m.values(found); !slices.Equal(got, []string{value}) || err != nil {
		return fmt.Errorf("%s: got %q (%v), want %q", own.Digest(), got, err, value)
	}
	return nil
}
