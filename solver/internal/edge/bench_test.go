package edge

import "testing"

// drive answers effects at once, as from empty caches in memory, for an edge
// whose inputs know all keys when asked for keys, and then their results. It
// returns how many effects there were.
type drive struct {
	m       machine
	queue   []Event
	effects []Effect
	steps   int
	total   int
}

func (d *drive) init(n int, managers Managers) {
	d.m.Init(n, managers, 0)
	d.queue, d.steps, d.total = d.queue[:0], 0, 0
}

func (d *drive) want(level Level) {
	d.queue = append(d.queue, Event{Kind: Want, Level: level})
	for i := 0; i < len(d.queue); i++ {
		d.effects = d.effects[:0]
		d.m.Step(d.queue[i], &d.effects)
		d.steps++
		d.total += len(d.effects)
		for _, e := range d.effects {
			d.answer(e)
		}
	}
	d.queue = d.queue[:0]
}

func (d *drive) answer(e Effect) {
	switch e.Kind {
	case CallMap:
		d.queue = append(d.queue, Event{Kind: Mapped})
	case Ask:
		d.queue = append(d.queue, Event{Kind: News, Input: e.Input, Level: e.Level})
	case AskAll:
		level := max(e.Level, AllKeys)
		for i := range d.m.in {
			d.queue = append(d.queue, Event{Kind: News, Input: int32(i), Level: level, Flag: level == AllKeys})
		}
	case Probe:
		d.queue = append(d.queue, Event{Kind: Probed, Input: e.Input})
	case Match:
		d.queue = append(d.queue, Event{Kind: Matched})
	case Digest:
		d.queue = append(d.queue, Event{Kind: Digested, Input: e.Input})
	case Join:
		d.queue = append(d.queue, Event{Kind: Joined})
	case Load:
		d.queue = append(d.queue, Event{Kind: Loaded, Flag: true})
	case Run:
		d.queue = append(d.queue, Event{Kind: Ran})
	}
}

// BenchmarkColdChain is one edge of a chain, with an empty cache: wanted for its
// keys by the edge above, then for its result.
func BenchmarkColdChain(b *testing.B) {
	b.ReportAllocs()
	var d drive
	for b.Loop() {
		d.init(1, 1)
		d.want(Keys)
		d.want(Result)
		if d.m.Known() != Result {
			b.Fatal(d.m.Stage())
		}
	}
	b.ReportMetric(float64(d.steps), "steps/op")
}

// BenchmarkFanIn is an edge with 1,000 inputs; ns/op is for all of them.
func BenchmarkFanIn(b *testing.B) {
	b.ReportAllocs()
	var d drive
	for b.Loop() {
		d.init(1000, 1)
		d.want(Result)
	}
	b.ReportMetric(float64(d.steps), "steps/op")
}
