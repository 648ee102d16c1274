package edge

import "testing"

// TestLinear counts steps and effects of an edge with many inputs: both are
// linear, and no step looks at all inputs for the news of one.
func TestLinear(t *testing.T) {
	const n = 100_000
	var d drive
	d.init(n, 3)
	d.want(Result)
	if d.m.Known() != Result {
		t.Fatal(d.m.describe())
	}
	if limit := 3*n + 20; d.steps > limit || d.total > limit {
		t.Errorf("%d inputs: %d steps and %d effects, at most %d expected", n, d.steps, d.total, limit)
	}
}

// TestLinearDemand counts what coming and going demand costs.
func TestLinearDemand(t *testing.T) {
	const n, times = 1000, 20
	var d drive
	d.init(n, 1)
	for range times {
		d.want(Keys)
		d.want(Nothing)
		d.m.Step(Event{Kind: Added, Mask: 2}, new([]Effect))
	}
	d.want(Result)
	if limit := 6 * n * (times + 1); d.steps > limit {
		t.Errorf("%d inputs, %d demands: %d steps, at most %d expected", n, times, d.steps, limit)
	}
}

// TestLinearTime would not end where a step of a wide edge looked at all inputs:
// all of them are matched, none shares a key, and each brings keys one by one.
func TestLinearTime(t *testing.T) {
	const n, keys = 100_000, 3
	var m machine
	m.Init(n, 1, 0)
	var out []Effect
	step := func(ev Event) {
		out = out[:0]
		m.Step(ev, &out)
	}
	step(Event{Kind: Want, Level: Result})
	step(Event{Kind: Mapped})
	for round := range keys {
		level := Keys
		if round == keys-1 {
			level = AllKeys
		}
		for i := range int32(n) {
			step(Event{Kind: News, Input: i, Level: level, Flag: true})
		}
		for i := range int32(n) {
			step(Event{Kind: Probed, Input: i, Mask: 1})
		}
		step(Event{Kind: Matched})
	}
	step(Event{Kind: Joined})
	for i := range int32(n) {
		step(Event{Kind: News, Input: i, Level: Result})
	}
	if m.Stage() != "running" {
		t.Fatal(m.describe())
	}
}
