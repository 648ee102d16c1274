package engine

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/engine/objects"
	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/internal/check"
)

// A cache that was slow to fail is not asked for a while; one that fails quickly, or answers,
// is asked each time.
func TestBreaker(t *testing.T) {
	var b breaker
	me := func() string { return "me" }
	other := func() string { return "other" }
	at := time.Unix(1000, 0)
	check.OK(t, b.check("c", me, at))
	b.ended("c", me, time.Second, at.Add(time.Second), errors.New("refused"))
	check.OK(t, b.check("c", me, at))
	b.ended("c", me, costly, at.Add(costly), errors.New("no answer"))
	check.Says(t, b.check("c", me, at.Add(costly)), "not asked before", "no answer")
	check.OK(t, b.check("other", me, at))
	check.OK(t, b.check("c", other, at))
	b.ended("c", other, 0, at.Add(costly), nil)
	check.Says(t, b.check("c", me, at.Add(costly)), "no answer")
	check.OK(t, b.check("c", me, at.Add(costly+breakFor)))
	b.ended("c", me, costly, at.Add(costly), errors.New("no answer"))
	b.ended("c", me, costly, at.Add(costly), nil)
	check.OK(t, b.check("c", me, at.Add(costly)))
	for n := range 3 * maxBroken {
		b.ended(string(rune(n+1000)), me, costly, at.Add(costly), errors.New("no answer"))
	}
	// A refusal is of who asked, and says nothing of the cache.
	b.ended("refused", me, 2*costly, at, fmt.Errorf("reading: %w", registry.ErrDenied))
	check.OK(t, b.check("refused", me, at))
	b.ended("refused", me, 2*costly, at, fmt.Errorf("reading: %w", &objects.StatusError{Code: 403}))
	check.OK(t, b.check("refused", me, at))
	// One that says for how long is left out as long, but not for ever.
	for after, away := range map[time.Duration]time.Duration{10 * time.Second: 10 * time.Second, 24 * time.Hour: maxBreak} {
		b.ended("busy", me, 0, at, fmt.Errorf("reading: %w", &objects.StatusError{Code: 429, After: after}))
		check.Says(t, b.check("busy", me, at.Add(away-1)), "not asked before")
		check.OK(t, b.check("busy", me, at.Add(away)))
	}
	check.Equal(t, "bounded", len(b.open) <= maxBroken, true)
}
