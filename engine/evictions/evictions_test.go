package evictions_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/engine/evictions"
	"github.com/tenonbuild/tenon/internal/check"
)

func keys(of string, n int) (out []string) {
	for i := range n {
		out = append(out, evictions.Key(fmt.Sprint(of, i)))
	}
	return out
}

func TestEvictions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "evicted")
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	for n := range 3 {
		check.OK(t, evictions.Add(path, evictions.Eviction{At: at(n), By: fmt.Sprint("prune ", n), Needed: int64(n), Keys: keys("k", 2)}))
	}
	by := func(id string, after, before int) string {
		if e := evictions.Find(evictions.Read(path), []string{"other", id}, at(after), at(before)); e != nil {
			return e.By
		}
		return "none"
	}
	check.Equal(t, "the last", by("k1", -1, 9), "prune 2")
	check.Equal(t, "before", by("k1", -1, 1), "prune 1")
	check.Equal(t, "after", by("k1", 2, 9), "none")
	check.Equal(t, "another key", by("k2", -1, 9), "none")

	// The newest stay, whatever comes, and the file stays small.
	for n := range 220 {
		check.OK(t, evictions.Add(path, evictions.Eviction{At: at(10 + n), By: strings.Repeat("x", 5000), Keys: keys("k", 1)}))
	}
	check.Equal(t, "those that are kept", len(evictions.Read(path)), 200)
	check.OK(t, evictions.Add(path, evictions.Eviction{At: at(5), By: "many", Keys: keys("m", 40_000)}))
	check.Equal(t, "those that are left", len(evictions.Read(path)), 1)
	dt, err := os.ReadFile(path)
	check.OK(t, err)
	if len(dt) > 2<<20 {
		t.Errorf("%d bytes", len(dt))
	}
	// A file that was cut off, or is of another version, is none.
	for _, text := range []string{string(dt[:len(dt)/2]), "", `{"version":2,"evictions":[{}]}`, "[]"} {
		check.OK(t, os.WriteFile(path, []byte(text), 0o600))
		check.Equal(t, "damaged", len(evictions.Read(path)), 0)
	}
	check.OK(t, evictions.Add(filepath.Join(t.TempDir(), "none", "x"), evictions.Eviction{}))
}
