package engine

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/engine/objects"
	"github.com/tenonbuild/tenon/internal/check"
)

// A cache that was slow to fail is not asked for a while; one that fails quickly, or answers,
// is asked each time.
func TestBreaker(t *testing.T) {
	var b breaker
	at := time.Unix(1000, 0)
	check.OK(t, b.check("c", at))
	b.ended("c", time.Second, at.Add(time.Second), errors.New("refused"))
	check.OK(t, b.check("c", at))
	b.ended("c", costly, at.Add(costly), errors.New("no answer"))
	check.Says(t, b.check("c", at.Add(costly)), "not asked before", "no answer")
	check.OK(t, b.check("other", at))
	check.OK(t, b.check("c", at.Add(costly+breakFor)))
	b.ended("c", costly, at.Add(costly), errors.New("no answer"))
	b.ended("c", costly, at.Add(costly), nil)
	check.OK(t, b.check("c", at.Add(costly)))
	for n := range 3 * maxBroken {
		b.ended(string(rune(n+1000)), costly, at.Add(costly), errors.New("no answer"))
	}
	// One that says for how long is left out as long, but not for ever.
	for after, away := range map[time.Duration]time.Duration{10 * time.Second: 10 * time.Second, 24 * time.Hour: maxBreak} {
		b.ended("busy", 0, at, fmt.Errorf("reading: %w", &objects.StatusError{Code: 429, After: after}))
		check.Says(t, b.check("busy", at.Add(away-1)), "not asked before")
		check.OK(t, b.check("busy", at.Add(away)))
	}
	check.Equal(t, "bounded", len(b.open) <= maxBroken, true)
}
