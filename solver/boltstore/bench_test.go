//go:build unix

package boltstore

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/solver"
)

// vertex is a node of a tree as a solver stores it: a key with one result and,
// unless it is a root, a link from its parent's.
type vertex struct {
	id, parent string
	link       solver.CacheInfoLink
	result     solver.CacheResult
}

// tree makes n vertices, of which every tenth is a root, and the others have a
// parent among those before.
func tree(n int) []vertex {
	out := make([]vertex, n)
	for i := range out {
		sum := sha256.Sum256(fmt.Append(nil, "key", i))
		v := vertex{
			id:     base64.RawURLEncoding.EncodeToString(sum[:]),
			link:   solver.CacheInfoLink{Digest: digest.FromString(fmt.Sprint("op", i))},
			result: solver.CacheResult{ID: fmt.Sprintf("result-%d", i), CreatedAt: time.Unix(1700000000+int64(i), 123456789)},
		}
		if i%10 == 0 {
			v.id = digest.NewDigestFromBytes(digest.SHA256, sum[:]).String()
		} else {
			v.parent = out[int(sum[0])%i*i/(i+1)].id
			if i > 100 {
				v.parent = out[i-1-int(sum[0])%100].id
			}
		}
		out[i] = v
	}
	return out
}

func (v vertex) store(tb testing.TB, s *Store) {
	if err := s.AddResult(v.id, v.result); err != nil {
		tb.Fatal(err)
	}
	if v.parent == "" {
		return
	}
	if err := s.AddLink(v.parent, v.link, v.id); err != nil {
		tb.Fatal(err)
	}
}

func fill(tb testing.TB, path string, vertices []vertex) *Store {
	s, err := Open(path, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, v := range vertices {
		v.store(tb, s)
	}
	if err := s.Sync(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return s
}

// cpuTime is the processor time that the process has used, which, unlike the
// time that passed, says something on a busy machine too.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkWrite measures what a record with its link costs the caller, and with
// the commit, and how large the file gets.
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		vertices := tree(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var caller time.Duration
			var size int64
			for b.Loop() {
				b.StopTimer()
				path := storePath(b)
				s, err := Open(path, Options{})
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				start := time.Now()
				for _, v := range vertices {
					v.store(b, s)
				}
				caller += time.Since(start)
				if err := s.Sync(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				info, err := os.Stat(path)
				if err != nil {
					b.Fatal(err)
				}
				size = info.Size()
				b.StartTimer()
			}
			records := float64(b.N) * float64(n)
			b.ReportMetric(float64(caller.Nanoseconds())/records, "caller-ns/record")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/records, "total-ns/record")
			b.ReportMetric(float64(size)/float64(n), "disk-B/record")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkCaller measures what a record with its link costs the caller alone.
func BenchmarkCaller(b *testing.B) {
	const n = 50_000
	vertices := tree(n)
	var cpu time.Duration
	for b.Loop() {
		b.StopTimer()
		s, err := Open(storePath(b), Options{FlushEvery: time.Hour, FlushSize: 1 << 30})
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		b.StartTimer()
		before := cpuTime(b)
		for _, v := range vertices {
			v.store(b, s)
		}
		cpu += cpuTime(b) - before
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N)/n, "cpu-ns/record")
}

// BenchmarkCommit measures the commit of a record with its link alone.
func BenchmarkCommit(b *testing.B) {
	const n = 50_000
	vertices := tree(n)
	var cpu time.Duration
	for b.Loop() {
		b.StopTimer()
		s, err := Open(storePath(b), Options{FlushEvery: time.Hour, FlushSize: 1 << 30})
		if err != nil {
			b.Fatal(err)
		}
		for _, v := range vertices {
			v.store(b, s)
		}
		runtime.GC()
		b.StartTimer()
		before := cpuTime(b)
		if err := s.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
		cpu += cpuTime(b) - before
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N)/n, "cpu-ns/record")
}

// BenchmarkOpen measures the opening of a file that is there.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		path := storePath(b)
		if err := fill(b, path, tree(n)).Close(); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			before := cpuTime(b)
			for b.Loop() {
				s, err := Open(path, Options{})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/key")
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N)/float64(n), "cpu-ns/key")
		})
	}
}

// BenchmarkRead measures look-ups in a file, with nothing pending.
func BenchmarkRead(b *testing.B) {
	const n = 100_000
	vertices := tree(n)
	s := fill(b, storePath(b), vertices)
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	})
	unknown := tree(n + 1000)[n:]
	run := func(name string, vertices []vertex, fn func(v *vertex)) {
		b.Run(name, func(b *testing.B) {
			before := cpuTime(b)
			for i := 0; b.Loop(); i++ {
				fn(&vertices[i*7919%len(vertices)])
			}
			b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
	found := func(string) error { return nil }
	run("ExistsUnknown", unknown, func(v *vertex) { s.Exists(v.id) })
	run("WalkLinksUnknown", unknown, func(v *vertex) { _ = s.WalkLinks(v.id, v.link, found) })
	run("Exists", vertices, func(v *vertex) { s.Exists(v.id) })
	run("WalkLinksNone", vertices, func(v *vertex) { _ = s.WalkLinks(v.id, v.link, found) })
	run("WalkLinks", vertices, func(v *vertex) {
		if v.parent != "" {
			_ = s.WalkLinks(v.parent, v.link, found)
		}
	})
	run("HasLink", vertices, func(v *vertex) { s.HasLink(v.parent, v.link, v.id) })
	run("WalkResults", vertices, func(v *vertex) {
		_ = s.WalkResults(v.id, func(solver.CacheResult) error { return nil })
	})
	run("Load", vertices, func(v *vertex) { _, _ = s.Load(v.id, v.result.ID) })
	run("WalkBacklinks", vertices, func(v *vertex) {
		_ = s.WalkBacklinks(v.id, func(string, solver.CacheInfoLink) error { return nil })
	})
	run("WalkIDsByResult", vertices, func(v *vertex) { _ = s.WalkIDsByResult(v.result.ID, found) })
}
