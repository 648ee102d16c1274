package edge

import (
	"fmt"
	"runtime/debug"
)

// invariants checks a machine between steps.
func (m *machine) invariants() error {
	var awaited, digested, probing, withKeys, withResult int32
	for i, in := range m.in {
		if in.awaited {
			awaited++
		}
		if in.content.awaited() {
			awaited++
		}
		if in.content == digesting {
			digested++
		}
		if in.probing {
			probing++
		}
		if in.known >= Keys {
			withKeys++
		}
		if in.known == Result {
			withResult++
		}
		switch {
		case in.unprobed && !m.reprobe && !in.probing:
			return fmt.Errorf("input %d is unprobed, and nobody will probe it", i)
		case in.awaited && in.known >= AllKeys:
			return fmt.Errorf("input %d is awaited, and knows %s", i, in.known)
		case in.exhausted && (in.known < AllKeys || in.content == possible || in.content.awaited()):
			return fmt.Errorf("input %d is exhausted, but may bring more keys", i)
		case in.probing && !m.mapped:
			return fmt.Errorf("input %d is probed before the operation is known", i)
		}
	}
	// Probes may outlive a search that has missed: their answers are of no use.
	idle := m.pending == 0 && (m.probing == 0 || m.stage >= missed) && !m.mapping
	switch {
	case m.stage == failed:
		return nil
	case awaited != m.pending:
		return fmt.Errorf("%d inputs are awaited, counted %d", awaited, m.pending)
	case probing != m.probing:
		return fmt.Errorf("%d inputs are probed, counted %d", probing, m.probing)
	case withKeys != m.withKeys || withResult != m.withResult:
		return fmt.Errorf("%d inputs know keys, %d results; counted %d and %d", withKeys, withResult, m.withKeys, m.withResult)
	case m.dead&^m.managers != 0:
		return fmt.Errorf("managers that are none are dead: %b", m.dead)
	case (m.known == Result) != (m.stage == done):
		return fmt.Errorf("knows %s", m.known)
	case m.stage >= found && m.stage <= loading && !idle:
		return fmt.Errorf("found, and still searching: %d pending, %d probing, mapping %v", m.pending, m.probing, m.mapping)
	case m.stage >= missed && (m.pending > digested || m.mapping):
		return fmt.Errorf("beyond the search, and still searching: %d pending, mapping %v", m.pending, m.mapping)
	case m.want <= m.known && m.stage < missed && !(idle && !m.waiting):
		return fmt.Errorf("knows %s, and something is under way", m.known)
	case (m.stage == loading || m.stage == inputs || m.stage == running) && m.want < Result:
		return fmt.Errorf("only %s is wanted", m.want)
	}
	return nil
}

// ledger is the contract between a machine and its driver: it checks each effect
// and each event, and knows what is unanswered.
type ledger struct {
	n         int // inputs
	known     Level
	knows     []Level // as the machine was told
	mapped    bool
	more      bool
	contents  []bool
	keyed     int // FormKeys
	maps      int
	found     bool // Matched said yes
	lost      bool // managers were added: known may fall once
	added     bool // managers were: inputs may be asked for the same again
	callMap   bool
	probe     []bool
	digest    []bool
	match     bool
	join      bool
	load      bool
	run       bool // Run, or Joined with yes, until Ran, Failed or Recheck
	mayRun    bool // Run was asked for by the machine itself
	asks      []Level
	delivered int // events
}

func newLedger(n int) *ledger {
	return &ledger{n: n, knows: make([]Level, n), probe: make([]bool, n), digest: make([]bool, n), asks: make([]Level, n)}
}

// unanswered counts the effects that wait for an answer, other than Ask.
func (l *ledger) unanswered() int {
	n := 0
	for _, b := range []bool{l.callMap, l.match, l.join, l.load, l.run} {
		if b {
			n++
		}
	}
	for i := range l.n {
		if l.probe[i] {
			n++
		}
		if l.digest[i] {
			n++
		}
	}
	return n
}

// take checks that the driver may deliver an event.
func (l *ledger) take(ev Event) error {
	l.delivered++
	answer := func(open *bool) error {
		if !*open {
			return fmt.Errorf("nothing was asked that %s answers", ev.Kind)
		}
		*open = false
		return nil
	}
	switch ev.Kind {
	case Mapped:
		l.mapped, l.more, l.contents = true, ev.More, ev.Contents
		l.maps++
		return answer(&l.callMap)
	case News:
		l.knows[ev.Input] = max(l.knows[ev.Input], ev.Level)
	case Probed:
		return answer(&l.probe[ev.Input])
	case Digested:
		return answer(&l.digest[ev.Input])
	case Matched:
		l.found = l.found || ev.Flag
		return answer(&l.match)
	case Joined:
		l.run = ev.Flag
		return answer(&l.join)
	case Loaded:
		if !ev.Flag {
			l.found = false
		}
		return answer(&l.load)
	case Added:
		l.lost, l.added = true, true
	case Lost:
		if ev.Input >= 0 {
			l.knows[ev.Input] = min(l.knows[ev.Input], AllKeys)
		}
		if !ev.Flag {
			return answer(&l.digest[ev.Input])
		}
		l.mayRun = false
		return answer(&l.run)
	case Recheck:
		l.found = false
		if !l.mayRun {
			return fmt.Errorf("recheck answers run alone")
		}
		l.mayRun = false
		return answer(&l.run)
	case Ran:
		l.mayRun = false
		return answer(&l.run)
	}
	return nil
}

// give checks an effect of a machine that has just stepped.
func (l *ledger) give(m *machine, e Effect) error {
	ask := func(open *bool, want Level) error {
		if *open {
			return fmt.Errorf("asked again before it was answered")
		}
		*open = true
		if m.want < want {
			return fmt.Errorf("only %s is wanted", m.want)
		}
		return nil
	}
	allKnow := func(level Level) error {
		for i, k := range l.knows {
			if k < level {
				return fmt.Errorf("input %d does not know %s", i, level)
			}
		}
		return nil
	}
	switch e.Kind {
	case CallMap:
		if l.mapped && !l.more {
			return fmt.Errorf("there are no more maps")
		}
		return ask(&l.callMap, Keys)
	case Ask:
		return l.ask(m, e.Input, e.Level)
	case AskAll:
		for i := range l.asks {
			if l.asks[i] >= e.Level && e.Level == Keys {
				return fmt.Errorf("input %d was asked before", i)
			}
			l.asks[i] = max(l.asks[i], e.Level)
		}
		if m.want < e.Level {
			return fmt.Errorf("only %s is wanted", m.want)
		}
	case Drop, Abandon:
		if e.Kind == Abandon {
			l.callMap, l.match, l.join, l.load, l.run, l.mayRun = false, false, false, false, false, false
			clear(l.probe)
			clear(l.digest)
		}
		clear(l.asks)
	case Probe:
		if !l.mapped || l.knows[e.Input] < Keys {
			return fmt.Errorf("it has no keys, or the operation is not known")
		}
		return ask(&l.probe[e.Input], Keys)
	case FormKey:
		if l.keyed++; l.keyed > l.maps {
			return fmt.Errorf("the key was formed before")
		}
		return allKnow(Keys)
	case Match:
		for i, p := range l.probe {
			if p {
				return fmt.Errorf("input %d is being probed", i)
			}
		}
		if err := ask(&l.match, Keys); err != nil {
			return err
		}
		return allKnow(Keys)
	case Digest:
		if l.knows[e.Input] < Result || l.contents == nil || !l.contents[e.Input] {
			return fmt.Errorf("it has no result, or no content key")
		}
		return ask(&l.digest[e.Input], AllKeys)
	case Join:
		return ask(&l.join, Result)
	case Load:
		if !l.found {
			return fmt.Errorf("nothing was found")
		}
		return ask(&l.load, Result)
	case Run:
		if l.found {
			return fmt.Errorf("a match was found, and not tried")
		}
		if err := allKnow(Result); err != nil {
			return err
		}
		l.mayRun = true
		return ask(&l.run, Result)
	case Publish:
		if e.Level < l.known && !(l.lost && e.Level == Keys) {
			return fmt.Errorf("%s was known already", l.known)
		}
		l.known = e.Level
	}
	return nil
}

func (l *ledger) ask(m *machine, i int32, level Level) error {
	if l.asks[i] >= level && !l.added && l.knows[i] >= level {
		return fmt.Errorf("it was asked for that before")
	}
	l.asks[i] = max(l.asks[i], level)
	if m.want < AllKeys {
		return fmt.Errorf("only %s is wanted", m.want)
	}
	return nil
}

// step steps a machine and checks everything there is to check of one step.
func (l *ledger) step(m *machine, ev Event, out []Effect) (_ []Effect, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	if err := l.take(ev); err != nil {
		return out, fmt.Errorf("driver: %s: %w", ev.Kind, err)
	}
	from, before := len(out), m.known
	m.Step(ev, &out)
	for _, e := range out[from:] {
		if err := l.give(m, e); err != nil {
			return out, fmt.Errorf("%s: %s: %w", ev.Kind, e, err)
		}
	}
	if m.known < before {
		if !l.lost || m.known != Keys {
			return out, fmt.Errorf("%s: %s was known, now %s", ev.Kind, before, m.known)
		}
		l.lost, l.known = false, Keys
	}
	if err := m.invariants(); err != nil {
		return out, fmt.Errorf("after %s: %w", ev.Kind, err)
	}
	return out, l.agrees(m)
}

// agrees compares what the machine believes is under way with what is.
func (l *ledger) agrees(m *machine) error {
	probing := int32(0)
	for _, p := range l.probe {
		if p {
			probing++
		}
	}
	switch {
	case m.stage == failed:
		return nil
	case probing != m.probing:
		return fmt.Errorf("%d probes are unanswered, the machine counts %d", probing, m.probing)
	case m.waiting != (l.match || l.join):
		return fmt.Errorf("match or join is unanswered: %v, the machine says %v", l.match || l.join, m.waiting)
	case m.mapping != l.callMap:
		return fmt.Errorf("callmap is unanswered: %v, the machine says %v", l.callMap, m.mapping)
	case (m.stage == loading) != l.load:
		return fmt.Errorf("load is unanswered: %v", l.load)
	case (m.stage == running) != l.run:
		return fmt.Errorf("run is unanswered: %v", l.run)
	case m.want <= m.known && m.stage < missed && l.unanswered() > 0:
		return fmt.Errorf("nothing is wanted, and %d effects are unanswered", l.unanswered())
	}
	return nil
}
