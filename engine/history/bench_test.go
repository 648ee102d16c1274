package history_test

import (
	"fmt"
	"testing"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/internal/check"
)

// What the record of a small build costs.
func BenchmarkRecord(b *testing.B) {
	h, err := history.Append(b.TempDir(), history.Limits{Entries: 1 << 30})
	check.OK(b, err)
	account := why.Build{Project: "p"}
	for i := range 20 {
		s := why.Step{Digest: digest.FromString(fmt.Sprint(i)), Name: fmt.Sprintf("[%d/20] RUN make", i), Kind: why.OpExec}
		for j := range 10 {
			s.Facts = append(s.Facts, why.Fact{Kind: why.FactEnv, Name: fmt.Sprint("V", j), Value: "value"})
		}
		account.Steps = append(account.Steps, s)
	}
	n := 0
	for b.Loop() {
		n++
		rec, err := h.Begin(&controlapi.BuildHistoryRecord{Ref: fmt.Sprint(n)})
		check.OK(b, err)
		a := account
		a.Ref, a.Ended = fmt.Sprint(n), time.Now()
		rec.Account(&a)
		check.OK(b, rec.End(nil, nil))
	}
}

// What is read for tenon history ls and tenon why, by how many builds there are: names and times
// of all files, and no more than that of those that are not told of.
func BenchmarkRead(b *testing.B) {
	for _, n := range []int{1000, 2000, 4000, 8000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := b.TempDir()
			h, err := history.Append(dir, history.Limits{Entries: 1 << 30})
			check.OK(b, err)
			last := &why.Build{}
			for i := range n {
				rec, err := h.Begin(&controlapi.BuildHistoryRecord{Ref: fmt.Sprint("build", i)})
				check.OK(b, err)
				last = &why.Build{Ref: fmt.Sprint("build", i), Project: fmt.Sprint("project", i%100), Ended: time.Now(), Steps: make([]why.Step, 20)}
				rec.Account(last)
				check.OK(b, rec.End(nil, nil))
			}
			past := history.In(dir)
			for b.Loop() {
				_, err := past.Find(b.Context(), "1")
				check.OK(b, err)
				earlier, err := past.Earlier(b.Context(), last, 20, 2000)
				check.OK(b, err)
				check.Equal(b, "builds of the project", len(earlier), min(n, 2000)/100-1)
			}
		})
	}
}
