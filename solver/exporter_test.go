package solver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// contract 25: the modes on a chain root → mid → top, whose root and mid are
// transferable, and on one where the top has no record.
func TestExportModes(t *testing.T) {
	root := digest.FromString("root").String()
	for _, c := range []struct {
		mode               solver.CacheExportMode
		records, remotes   string
		want, wantConverts string
	}{
		{solver.CacheExportModeMax, "low mid top", "", "low=converted-low mid=converted-mid top=converted-top", "low mid top"},
		{solver.CacheExportModeMax, "low mid top", "mid", "low=converted-low mid=mid top=converted-top", "low top"},
		{solver.CacheExportModeMin, "low mid top", "", "low= mid= top=converted-top", "top"},
		{solver.CacheExportModeMin, "low mid top", "low", "low=low mid= top=converted-top", "top"},
		{solver.CacheExportModeMin, "low mid top", "top", "low= mid= top=top", ""},
		{solver.CacheExportModeMin, "low mid", "", "low= mid=converted-mid top=", "mid"},
		{solver.CacheExportModeMin, "low", "", "low=converted-low mid= top=", "low"},
		{solver.CacheExportModeRemoteOnly, "low mid top", "mid", "low= mid=mid top=", ""},
	} {
		g := newCacheGraph(t)
		g.recs(root)
		g.link(0, root, "low", "")
		g.link(0, "low", "mid", "")
		g.link(0, "mid", "top", "")
		g.recs(strings.Fields(c.records)...)
		for _, r := range strings.Fields(c.remotes) {
			g.results.remotes[r] = true
		}
		g.results.remotes[root] = true
		tgt := g.export(c.mode, "top")
		slices.Sort(g.converted)
		if got := tgt.exported("low", "mid", "top"); got != c.want || strings.Join(g.converted, " ") != c.wantConverts {
			t.Errorf("%+v: got %q, converted %q", c, got, g.converted)
		}
		// A root is there for the links, never with its result.
		if r := tgt.of(t, digest.Digest(root)); len(r.results) != 0 || len(tgt.records) != 4 {
			t.Errorf("%+v: root %+v, %d records", c, r, len(tgt.records))
		}
		if l := tgt.of(t, op("mid")).links; len(l) != 1 || l[0].src != tgt.of(t, op("low")) {
			t.Errorf("%+v: links %+v", c, l)
		}
	}
}

// contract 25: what one path has below its topmost record and another has not
// counts as topmost, in whichever order they are walked.
func TestExportMinOverTwoPaths(t *testing.T) {
	for _, left := range []int{0, 1} {
		g := newCacheGraph(t)
		g.link(left, "left", "top", "")
		g.link(1-left, "right", "top", "")
		g.link(0, "shared", "left", "")
		g.link(0, "shared", "right", "")
		g.link(0, "base", "shared", "")
		g.recs("left", "shared", "base")
		tgt := g.export(solver.CacheExportModeMin, "top")
		if got, want := tgt.exported("top", "left", "right", "shared"), "top= left=converted-left right= shared=converted-shared"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// contract 25: all keys that lead to a record, with selectors; not those that
// lead there as another operation.
func TestExportLinks(t *testing.T) {
	g := newCacheGraph(t)
	a, content := digest.FromString("a").String(), digest.FromString("content").String()
	g.link(0, a, "top", "sel")
	g.link(0, content, "top", "")
	g.link(0, a, "top", "")
	g.link(3, a, "top", "")
	_ = g.storage.AddLink(a, solver.CacheInfoLink{Digest: "op-z"}, "top")
	g.recs("top")
	tgt := g.export(solver.CacheExportModeMax, "top")
	ra, rc := tgt.of(t, digest.Digest(a)), tgt.of(t, digest.Digest(content))
	want := []recordLink{{ra, 0, ""}, {rc, 0, ""}, {ra, 0, "sel"}, {ra, 3, ""}}
	got := tgt.of(t, op("top")).links
	for _, l := range want {
		if !slices.Contains(got, l) {
			t.Errorf("link %+v is missing", l)
		}
	}
	if len(got) != len(want) || len(tgt.records) != 3 {
		t.Errorf("%d links, %d records", len(got), len(tgt.records))
	}
}

// contract 25: the newest record goes; one that has gone makes room for the next,
// and the last one for none.
func TestExportChoosesRecord(t *testing.T) {
	for _, c := range []struct {
		mode          solver.CacheExportMode
		gone, remotes string
		want          string
	}{
		{solver.CacheExportModeMax, "", "", "top=converted-new"},
		{solver.CacheExportModeMax, "new", "", "top=converted-old"},
		{solver.CacheExportModeMax, "new old", "", "top="},
		{solver.CacheExportModeMax, "", "old", "top=converted-new"},
		{solver.CacheExportModeRemoteOnly, "", "old", "top=old"},
	} {
		g := newCacheGraph(t)
		g.link(0, "base", "top", "")
		g.rec("top", "old", time.Hour)
		g.rec("top", "new", time.Minute)
		for _, r := range strings.Fields(c.remotes) {
			g.results.remotes[r] = true
		}
		for _, r := range strings.Fields(c.gone) {
			g.results.errs[r] = fmt.Errorf("pruned: %w", solver.ErrNotFound)
		}
		if got := g.export(c.mode, "top").exported("top"); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

// failing is a storage of which one node cannot be read.
type failing struct {
	solver.CacheKeyStorage
	links, results error
}

func (f *failing) WalkBacklinks(id string, fn func(string, solver.CacheInfoLink) error) error {
	if id == "low" && f.links != nil {
		return f.links
	}
	return f.CacheKeyStorage.WalkBacklinks(id, fn)
}

func (f *failing) WalkResults(id string, fn func(solver.CacheResult) error) error {
	if id == "low" && f.results != nil {
		return f.results
	}
	return f.CacheKeyStorage.WalkResults(id, fn)
}

// contract 25: an error in any branch fails the export, and names the key;
// nothing has been added by then.
func TestExportErrors(t *testing.T) {
	broken := errors.New("broken")
	for name, prepare := range map[string]func(g *cacheGraph, f *failing, opt *solver.CacheExportOpt){
		"links":   func(_ *cacheGraph, f *failing, _ *solver.CacheExportOpt) { f.links = broken },
		"results": func(_ *cacheGraph, f *failing, _ *solver.CacheExportOpt) { f.results = broken },
		"remote":  func(g *cacheGraph, _ *failing, _ *solver.CacheExportOpt) { g.results.errs["low"] = broken },
		"convert": func(_ *cacheGraph, _ *failing, opt *solver.CacheExportOpt) {
			opt.Convert = func(_ context.Context, res solver.Result) (*solver.Remote, error) {
				if res.ID() == "low" {
					return nil, broken
				}
				return remoteOf(res.ID()), nil
			}
		},
	} {
		g := newCacheGraph(t)
		f := &failing{CacheKeyStorage: g.storage}
		g.cache = solver.NewCacheManager("failing", f, g.results)
		g.link(0, "base", "low", "")
		g.link(0, "low", "top", "")
		g.link(1, "other", "top", "")
		g.recs("low", "top", "other")
		opt := solver.CacheExportOpt{Mode: solver.CacheExportModeMax, Convert: g.convert}
		prepare(g, f, &opt)
		tgt := newTarget()
		_, err := g.key("top").Exporter.ExportTo(context.Background(), tgt, opt)
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "low") || len(tgt.records) != 0 {
			t.Errorf("%s: %v, %d records", name, err, len(tgt.records))
		}
	}
}

// contract 25: Convert is called once a result, whatever keys and caches it has
// and however often it is exported to one target, and gives it back each time.
func TestExportConvertsOnce(t *testing.T) {
	g := newCacheGraph(t)
	one := &counted{id: "one"}
	for _, k := range []string{"a", "b"} {
		g.link(0, "base", k, "")
		g.link(0, k, "top-"+k, "")
		res, _ := g.results.Save(one)
		_ = g.storage.AddResult(k, res)
	}
	g.recs("top-a", "top-b")
	tgt := newTarget()
	opt := solver.CacheExportOpt{Mode: solver.CacheExportModeMax, Convert: g.convert}
	var first solver.CacheExporterRecord
	for i, k := range []string{"top-a", "top-b", "top-a"} {
		recs, err := g.key(k).Exporter.ExportTo(context.Background(), tgt, opt)
		if err != nil || len(recs) != 1 {
			t.Fatal(recs, err)
		}
		if i == 0 {
			first = recs[0]
		} else if i == 2 && recs[0] != first {
			t.Error("the second export of a key has another record")
		}
	}
	slices.Sort(g.converted)
	if got := strings.Join(g.converted, " "); got != "one top-a top-b" || one.released.Load() != 1 {
		t.Errorf("converted %q, released %d times", got, one.released.Load())
	}
	if got := tgt.exported("a", "b", "base"); got != "a=converted-one b=converted-one" || len(tgt.records) != 5 {
		t.Errorf("exported %q in %d records", got, len(tgt.records))
	}
	if l := tgt.of(t, op("top-a")).links; len(l) != 1 {
		t.Errorf("told %d links", len(l))
	}
	// What came since then is told as well.
	g.link(1, "more", "top-a", "")
	if _, err := g.key("top-a").Exporter.ExportTo(context.Background(), tgt, opt); err != nil {
		t.Fatal(err)
	}
	if l := tgt.of(t, op("top-a")).links; len(l) != 2 || len(tgt.records) != 6 {
		t.Errorf("told %d links, %d records", len(l), len(tgt.records))
	}
}

// contract 26: concurrent exports, to one target and to several.
func TestExportConcurrently(t *testing.T) {
	g := newCacheGraph(t)
	for i := range 50 {
		g.link(0, fmt.Sprint("k", i), fmt.Sprint("k", i+1), "")
		g.recs(fmt.Sprint("k", i+1))
	}
	k, shared := g.key("k50"), newTarget()
	opt := solver.CacheExportOpt{Mode: solver.CacheExportModeMax, Convert: g.convert}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			own := newTarget()
			for _, tgt := range []*target{shared, own} {
				if _, err := k.Exporter.ExportTo(context.Background(), tgt, opt); err != nil {
					t.Error(err)
				}
			}
			if len(own.records) != 51 {
				t.Errorf("%d records", len(own.records))
			}
		})
	}
	wg.Wait()
	if len(shared.records) != 51 || len(g.converted) != 5*50 {
		t.Errorf("%d records, %d converted", len(shared.records), len(g.converted))
	}
}

// An export that waits for another to the same target, or is under way, ends with
// its context.
func TestExportIsCancelled(t *testing.T) {
	g := newCacheGraph(t)
	g.link(0, "base", "top", "")
	g.recs("top")
	k, tgt := g.key("top"), newTarget()
	ctx, cancel := context.WithCancel(context.Background())
	var waiting error
	opt := solver.CacheExportOpt{Mode: solver.CacheExportModeMax}
	opt.Convert = func(context.Context, solver.Result) (*solver.Remote, error) {
		cancel()
		_, waiting = k.Exporter.ExportTo(ctx, tgt, opt)
		return nil, ctx.Err()
	}
	_, err := k.Exporter.ExportTo(ctx, tgt, opt)
	if !errors.Is(err, context.Canceled) || !errors.Is(waiting, context.Canceled) {
		t.Fatal(err, waiting)
	}
	if tgt := g.export(solver.CacheExportModeMax, "top"); tgt.exported("top") != "top=converted-top" {
		t.Fatal("the cancellation was remembered")
	}
}

// counting counts what an export asks of a storage.
type counting struct {
	solver.CacheKeyStorage
	walks, links, results int
}

func (c *counting) WalkBacklinks(id string, fn func(string, solver.CacheInfoLink) error) error {
	c.walks++
	return c.CacheKeyStorage.WalkBacklinks(id, func(id string, l solver.CacheInfoLink) error {
		c.links++
		return fn(id, l)
	})
}

func (c *counting) WalkResults(id string, fn func(solver.CacheResult) error) error {
	c.results++
	return c.CacheKeyStorage.WalkResults(id, fn)
}

// contract 26: each key and each link is looked at once, also where equal keys
// make the graph cyclic; a chain of a million, a ring whose nodes lead to
// themselves, and hubs.
func TestExportIsLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("a million keys")
	}
	for name, c := range map[string]struct {
		n     int
		build func(g *cacheGraph, i int, keys []string)
	}{
		"chain": {1_000_000, func(g *cacheGraph, i int, keys []string) { g.link(0, keys[i], keys[i+1], "") }},
		"cyclic": {10_000, func(g *cacheGraph, i int, keys []string) {
			g.link(0, keys[i], keys[i+1], "")
			g.link(0, keys[i+1], keys[i], "")
			g.link(0, keys[i], keys[i], "")
			g.link(0, keys[len(keys)-1], keys[i], "")
		}},
		"fan-in": {100_000, func(g *cacheGraph, i int, keys []string) { g.link(i, keys[i], keys[len(keys)-1], "") }},
		"fan-out": {100_000, func(g *cacheGraph, i int, keys []string) {
			g.link(0, "base", keys[i], "")
			g.link(i, keys[i], keys[len(keys)-1], "")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newCacheGraph(t)
			keys := ids(c.n + 1)
			for i := range c.n {
				c.build(g, i, keys)
			}
			for _, mode := range []solver.CacheExportMode{solver.CacheExportModeMin, solver.CacheExportModeMax} {
				if mode == solver.CacheExportModeMax && name == "chain" {
					continue // as the others, and takes as long again
				}
				s := &counting{CacheKeyStorage: g.storage}
				g.cache = solver.NewCacheManager("graph", s, g.results)
				tgt := g.export(mode, keys[c.n])
				told := 0
				for _, r := range tgt.records {
					told += len(r.links)
				}
				if n := len(tgt.records); n < c.n+1 || n > c.n+2 || s.walks != n || s.links != told || s.results > n {
					t.Errorf("%d records, %d links told: %+v", n, told, s)
				}
			}
		})
	}
}

// Many results that have most of their chain in common, one after the other to
// one target: each is a short walk.
func TestExportManyToOneTarget(t *testing.T) {
	const n = 20_000
	g := newCacheGraph(t)
	keys := ids(n)
	for i := range n {
		g.link(0, "base", keys[i], "")
	}
	g.recs(keys...)
	tgt := newTarget()
	for _, k := range keys {
		if _, err := g.key(k).Exporter.ExportTo(context.Background(), tgt, solver.CacheExportOpt{Convert: g.convert}); err != nil {
			t.Fatal(err)
		}
	}
	if len(tgt.records) != n+1 || len(g.converted) != n {
		t.Errorf("%d records, %d converted", len(tgt.records), len(g.converted))
	}
}
