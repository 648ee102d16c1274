package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/internal/check"
)

// A cache that was slow to fail is not asked for a while; one that fails quickly, or answers,
// is asked each time.
func TestBreaker(t *testing.T) {
	var b breaker
	at := time.Unix(1000, 0)
	check.OK(t, b.check("c", at))
	b.ended("c", at, at.Add(time.Second), errors.New("refused"))
	check.OK(t, b.check("c", at))
	b.ended("c", at, at.Add(costly), errors.New("no answer"))
	check.Says(t, b.check("c", at.Add(costly)), "not asked before", "no answer")
	check.OK(t, b.check("other", at))
	check.OK(t, b.check("c", at.Add(costly+breakFor)))
	b.ended("c", at, at.Add(costly), errors.New("no answer"))
	b.ended("c", at, at.Add(costly), nil)
	check.OK(t, b.check("c", at.Add(costly)))
	for n := range 3 * maxBroken {
		b.ended(string(rune(n+1000)), at, at.Add(costly), errors.New("no answer"))
	}
	check.Equal(t, "bounded", len(b.open) <= maxBroken, true)
}
