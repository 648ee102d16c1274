package main

import (
	"io"
	"testing"

	"github.com/tenonbuild/tenon/bench/measure"
)

func TestFlags(t *testing.T) {
	t.Setenv("SHORT", "")
	for _, tc := range []struct {
		args  []string
		steps int // -1 for an error
	}{
		{[]string{"-short"}, len(measure.Short())},
		{nil, len(measure.Full())},
		{[]string{"-only", "tree", "-n", "10000", "-phase", "cold", "-solver", "ours"}, 1},
		{[]string{"-only", "tree", "-n", "12345", "-phase", "leaf", "-storage", "bolt"}, 1},
		{[]string{"-short", "-only", "chain", "-n", "3000"}, 1},
		{[]string{"-only", "star"}, -1},
		{[]string{"-solver", "mine"}, -1},
		{[]string{"-storage", "tape"}, -1},
		{[]string{"-phase", "cold"}, -1},
		{[]string{"-only", "tree", "-n", "10", "-phase", "tepid"}, -1},
	} {
		o, err := parse(tc.args, io.Discard)
		var steps []measure.Step
		if err == nil {
			steps, err = o.steps()
		}
		if (err != nil) != (tc.steps < 0) || err == nil && len(steps) != tc.steps {
			t.Errorf("%v: %d steps and error %v, want %d", tc.args, len(steps), err, tc.steps)
		}
	}
}

func TestShortByEnvironment(t *testing.T) {
	t.Setenv("SHORT", "1")
	if o, err := parse(nil, io.Discard); err != nil || !o.short {
		t.Errorf("short %v, error %v", o.short, err)
	}
}
