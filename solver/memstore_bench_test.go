package solver_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver"
)

// ids are n keys as the solver makes them: of 43 bytes.
func ids(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%043d", i)
	}
	return out
}

func digests(n int) []digest.Digest {
	out := make([]digest.Digest, n)
	for i := range out {
		out[i] = digest.FromString(fmt.Sprint(i))
	}
	return out
}

// liveBytes reports what build leaves behind, for each of n.
func liveBytes(b *testing.B, n int, build func() any) any {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept := build()
	b.StopTimer()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "live-B/node")
	return kept
}

func BenchmarkMemoryStorage(b *testing.B) {
	const n = 100_000
	keys, ops, now := ids(n+1), digests(n), time.Now()
	shapes := map[string]func(s solver.CacheKeyStorage, i int){
		"chain":   func(s solver.CacheKeyStorage, i int) { addLink(s, keys[i], ops[i], "", keys[i+1]) },
		"fan-out": func(s solver.CacheKeyStorage, i int) { addLink(s, keys[n], ops[i], "", keys[i]) },
		"targets": func(s solver.CacheKeyStorage, i int) { addLink(s, keys[n], ops[0], "", keys[i]) },
		"fan-in":  func(s solver.CacheKeyStorage, i int) { addLink(s, keys[i], ops[i], "", keys[n]) },
	}
	for name, add := range shapes {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				s := solver.NewInMemoryCacheStorage()
				kept := liveBytes(b, n, func() any {
					b.StartTimer()
					for i := range n {
						_ = s.AddResult(keys[i], solver.CacheResult{ID: keys[i], CreatedAt: now})
						add(s, i)
					}
					return s
				})
				runtime.KeepAlive(kept)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/node")
		})
	}
}

func BenchmarkMemoryStorageMiss(b *testing.B) {
	const n = 100_000
	keys, ops := ids(n+1), digests(n)
	s := solver.NewInMemoryCacheStorage()
	for i := range n {
		addLink(s, keys[i], ops[i], "", keys[i+1])
	}
	b.Run("WalkLinks", func(b *testing.B) {
		i := 0
		for b.Loop() {
			_ = s.WalkLinks(keys[i%n], solver.CacheInfoLink{Digest: ops[0], Input: 1}, func(string) error { return nil })
			i++
		}
	})
	b.Run("HasLink", func(b *testing.B) {
		i := 0
		for b.Loop() {
			s.HasLink(keys[i%n], solver.CacheInfoLink{Digest: ops[0], Input: 1}, keys[0])
			i++
		}
	})
}

func addLink(s solver.CacheKeyStorage, from string, op digest.Digest, selector digest.Digest, to string) {
	if err := s.AddLink(from, solver.CacheInfoLink{Digest: op, Selector: selector}, to); err != nil {
		panic(err)
	}
}

// BenchmarkExport measures an export of each shape, a key.
func BenchmarkExport(b *testing.B) {
	const n = 100_000
	keys, ops := ids(n+1), digests(n)
	shapes := map[string]func(s solver.CacheKeyStorage, i int){
		"chain": func(s solver.CacheKeyStorage, i int) { addLink(s, keys[i], ops[i], "", keys[i+1]) },
		"fan-in": func(s solver.CacheKeyStorage, i int) {
			_ = s.AddLink(keys[i], solver.CacheInfoLink{Digest: ops[0], Input: solver.Index(i)}, keys[n])
		},
		"diamonds": func(s solver.CacheKeyStorage, i int) {
			addLink(s, keys[i], ops[i], "", keys[i+1])
			_ = s.AddLink(keys[i], solver.CacheInfoLink{Digest: ops[i], Input: 1}, keys[i+1])
		},
	}
	for name, add := range shapes {
		b.Run(name, func(b *testing.B) {
			s, results := solver.NewInMemoryCacheStorage(), solver.NewInMemoryResultStorage()
			m := solver.NewCacheManager("bench", s, results)
			for i := range n {
				res, _ := results.Save(value(keys[i]))
				_ = s.AddResult(keys[i], res)
				add(s, i)
			}
			top, err := m.Save(&solver.CacheKey{ID: keys[n]}, value("top"))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := top.Exporter.ExportTo(context.Background(), &nullTarget{visited: map[any]struct{}{}}, solver.CacheExportOpt{
					Mode:    solver.CacheExportModeMax,
					Convert: func(context.Context, solver.Result) (*solver.Remote, error) { return &solver.Remote{}, nil },
				}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/key")
		})
	}
}

// value is a result that is no more than its ID.
type value string

func (v value) ID() string                    { return string(v) }
func (v value) Sys() any                      { return string(v) }
func (v value) Release(context.Context) error { return nil }

// nullTarget takes everything and keeps nothing of it.
type nullTarget struct{ visited map[any]struct{} }

type nullRecord struct{}

func (nullRecord) AddResult(time.Time, *solver.Remote)              {}
func (nullRecord) LinkFrom(solver.CacheExporterRecord, int, string) {}
func (t *nullTarget) Add(digest.Digest) solver.CacheExporterRecord  { return nullRecord{} }
func (t *nullTarget) Visit(v any)                                   { t.visited[v] = struct{}{} }
func (t *nullTarget) Visited(v any) bool                            { _, ok := t.visited[v]; return ok }
