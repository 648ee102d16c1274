package why_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/internal/check"
)

// timedStep is a step that ran from one second to another; not at all if both are -1.
type timedStep struct {
	from, to int
	on       []int
}

func timedBuild(steps []timedStep) *why.Build {
	epoch := time.Unix(1_700_000_000, 0)
	name := func(i int) digest.Digest { return digest.FromString(fmt.Sprint(i)) }
	b := &why.Build{Begun: epoch}
	for i, t := range steps {
		s := why.Step{Digest: name(i)}
		if t.from >= 0 {
			s.Started, s.Ended = epoch.Add(time.Duration(t.from)*time.Second), epoch.Add(time.Duration(t.to)*time.Second)
		}
		for _, on := range t.on {
			s.Inputs = append(s.Inputs, why.Input{Step: name(on)})
		}
		b.Steps = append(b.Steps, s)
	}
	return b
}

func TestCritical(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps []timedStep
		want  string
	}{
		{"nothing", nil, "[]"},
		{"nothing took time", []timedStep{{-1, -1, nil}}, "[]"},
		{"a chain", []timedStep{{0, 1, nil}, {1, 2, []int{0}}, {2, 5, []int{1}}}, "[0 1 2]"},
		{"the slower of two", []timedStep{{0, 1, nil}, {0, 4, nil}, {4, 5, []int{0, 1}}}, "[1 2]"},
		{"what nobody waits for", []timedStep{{0, 1, nil}, {1, 9, []int{0}}, {1, 2, []int{0}}}, "[0 1]"},
		{"through a step that took none", []timedStep{{0, 3, nil}, {0, 1, nil}, {-1, -1, []int{0, 1}}, {3, 4, []int{2}}}, "[0 3]"},
		{"below it, and later than it", []timedStep{{0, 9, nil}, {0, 1, nil}, {9, 10, []int{0}}, {1, 2, []int{0, 1}}}, "[0 2]"},
		{"a load that came late", []timedStep{{0, 1, nil}, {1, 9, []int{0}}, {-1, -1, []int{0}}, {9, 9, []int{2}}, {9, 10, []int{1, 3}}}, "[0 1 4]"},
		{"an input that is not kept", []timedStep{{0, 3, []int{77}}}, "[0]"},
		{"a step that stands on itself", []timedStep{{0, 3, []int{0, 1}}, {3, 4, []int{0, 1}}}, "[0 1]"},
		{"an end before the beginning", []timedStep{{5, 3, nil}, {3, 4, []int{0}}}, "[1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			check.Equal(t, "steps", fmt.Sprint(why.Critical(timedBuild(c.steps))), c.want)
		})
	}
}
