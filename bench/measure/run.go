package measure

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/tenonbuild/tenon/bench"
	"github.com/tenonbuild/tenon/bench/graph"
)

// Runner runs cases and fills a table.
type Runner struct {
	Subjects []bench.Subject
	Table    *Table
	// Log is told what went wrong, and what was left out for lack of time.
	Log io.Writer
	// Trials is how many trials of each solver a case has at least.
	Trials int
	// Patience is how long more trials than that are added to a short case.
	Patience time.Duration
	// PeerLimit is the longest Build the peer is asked for.
	PeerLimit time.Duration
	// Deadline, if it is set, is when all should have ended: the peer's trials
	// that would take longer are left out.
	Deadline time.Time

	// Wrong counts the Builds of ours and the floor that failed, or ran what they
	// should not have.
	Wrong int

	predict predictor
	told    map[string]bool
}

const (
	// maxTrials bounds the trials of a short case.
	maxTrials = 15
	// maxPeerN bounds the peer: its stack does not hold a graph that is much deeper.
	maxPeerN = 100_000
	// hang is when a Build is given up.
	hang = 3 * time.Minute
)

// figures collects the samples of all trials of a case.
type figures map[Key]map[string][]float64

func (f figures) add(c Case, name string, samples []sample) {
	for _, s := range samples {
		if name == floorName && !floorHas(s) {
			continue
		}
		k := Key{s.metric, c.Shape, c.N, s.phase, c.Storage}
		if f[k] == nil {
			f[k] = map[string][]float64{}
		}
		f[k][name] = append(f[k][name], s.value)
	}
}

// floorHas reports whether a figure means anything for the floor, which has no
// disk, and nothing to do when a job ends.
func floorHas(s sample) bool {
	switch s.phase {
	case Discard, Flush, Reopen:
		return false
	}
	return s.metric != Disk
}

// Run measures a case and prints its rows. The solvers take turns, and another
// begins each round.
func (r *Runner) Run(ctx context.Context, c Case) error {
	g, err := graph.New(c.Shape, c.N, seed)
	if err != nil {
		return err
	}
	all := figures{}
	spent := map[string]time.Duration{}
	failed := map[string]bool{}
	for round, ran := 0, true; ran && round < maxTrials; round++ {
		ran = false
		for i := range r.Subjects {
			s := r.Subjects[(i+round)%len(r.Subjects)]
			now, ok := r.next(c, s, round, spent[s.Name()])
			if !ok || failed[s.Name()] {
				continue
			}
			ran = true
			start := time.Now()
			t := &trial{subject: s, c: now, g: g}
			if err := r.attempt(ctx, t); err != nil {
				failed[s.Name()] = true
				continue
			}
			spent[s.Name()] += time.Since(start)
			all.add(c, s.Name(), t.samples)
		}
	}
	r.print(c, all)
	return ctx.Err()
}

// attempt runs one trial, and says so if something is wrong with it.
func (r *Runner) attempt(ctx context.Context, t *trial) error {
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	// A solver that does not even return when it is cancelled stops the run, with
	// the stacks of all goroutines.
	watchdog := time.AfterFunc(hang+30*time.Second, func() {
		panic(fmt.Sprintf("%s %s does not end", t.subject.Name(), t.c))
	})
	defer watchdog.Stop()
	err := t.run(ctx)
	if err != nil {
		t.wrong = append(t.wrong, fmt.Sprintf("%s %s: %v", t.subject.Name(), t.c, err))
	}
	for _, w := range t.wrong {
		r.fail(t.subject.Name(), w)
	}
	return err
}

// fail logs what is wrong with a solver. The peer is not ours to mend.
func (r *Runner) fail(name, line string) {
	r.tell(line)
	if name != peerName {
		r.Wrong++
	}
}

// tell logs a line, once.
func (r *Runner) tell(line string) {
	if r.told == nil {
		r.told = map[string]bool{}
	}
	if !r.told[line] {
		r.told[line] = true
		fmt.Fprintln(r.Log, line)
	}
}

// next says what a solver's trial of the next round is, if there is one.
func (r *Runner) next(c Case, s bench.Subject, round int, spent time.Duration) (Case, bool) {
	trials := r.Trials
	switch s.Name() {
	case floorName:
		if c.Kind == DiscardJob {
			return c, false // it has no jobs that stay
		}
	case peerName:
		var ok bool
		if c, ok = r.peerCase(c, round); !ok {
			return c, false
		}
		if c.PeerTrials > 0 {
			trials = min(trials, c.PeerTrials)
		}
	}
	return c, round < trials || round > 0 && spent+spent/time.Duration(round) < r.Patience
}

// peerCase is the case without what there is no time for the peer to do.
func (r *Runner) peerCase(c Case, round int) (Case, bool) {
	if c.PeerTrials == None || c.N > maxPeerN || c.Kind == DiscardJob && c.N*besideFactor > maxPeerN {
		return c, false
	}
	if c.PeerUntil != "" {
		c.Until = c.PeerUntil
	}
	build, trial := r.predict.build(c), r.predict.trial(c)
	left := trial
	if !r.Deadline.IsZero() {
		left = time.Until(r.Deadline)
	}
	switch {
	case build > r.PeerLimit || build > left:
		if round == 0 {
			r.tell(fmt.Sprintf("peer %s: left out, a Build would take %s", c, roughly(build)))
		}
		return c, false
	case trial > left:
		c.Until = phasesOf[c.Kind][0]
		if round == 0 {
			r.tell(fmt.Sprintf("peer %s: only %s, all would take %s", c, c.Until, roughly(trial)))
		}
	}
	return c, true
}

func roughly(d time.Duration) string {
	if d > 24*time.Hour {
		return "days"
	}
	return "some " + d.Round(time.Second).String()
}

// print sets the rows of a case, in the order of their phases.
func (r *Runner) print(c Case, all figures) {
	for _, metric := range []Metric{Time, ReopenTime, Alloc, Visits, Disk} {
		for _, phase := range phasesOf[c.Kind] {
			k := Key{metric, c.Shape, c.N, phase, c.Storage}
			byName, ok := all[k]
			if !ok {
				continue
			}
			row := Row{}
			for name, values := range byName {
				row[name] = median(values)
			}
			if ns, ok := row[peerName]; ok && metric == Time && phase == Cold {
				r.predict.saw(c, ns)
			}
			r.Table.Set(k, row)
		}
	}
}
