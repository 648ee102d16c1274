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
