package logstore

import (
	"encoding/base64"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/internal/keygraph"
)

// BenchmarkStore measures a chain of keys, each with a link and a result, by CPU time.
func BenchmarkStore(b *testing.B) {
	const n = 100_000
	id := func(i int) string {
		return base64.RawURLEncoding.EncodeToString([]byte(digest.FromString(fmt.Sprint(i)))[7:39])
	}
	saves := make([]keygraph.Save, n)
	for i := range saves {
		saves[i] = keygraph.Save{
			ID: id(i + 1), Op: string(digest.FromString(fmt.Sprint("op", i))), Sources: []keygraph.Source{{ID: id(i)}},
			Result: keygraph.Result{ID: id(i + 1), CreatedAt: time.Now()},
		}
	}
	perKey := func(start time.Duration) float64 { return float64(cpu()-start) / n }
	for b.Loop() {
		path := storePath(b)
		s, err := Open(path, Options{})
		must(b, err)
		start := cpu()
		for i := range saves {
			must(b, s.Graph().Save(&saves[i]))
		}
		must(b, s.Sync(b.Context()))
		b.ReportMetric(perKey(start), "save-cpu-ns/key")
		must(b, s.Close())
		fi, err := os.Stat(path)
		must(b, err)
		b.ReportMetric(float64(fi.Size())/n, "disk-B/key")
		start = cpu()
		s, err = Open(path, Options{})
		must(b, err)
		b.ReportMetric(perKey(start), "open-cpu-ns/key")
		must(b, s.Close())
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
