package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Runner measures cases, each builder in turn.
type Runner struct {
	Builders []Builder
	Dir      string // for contexts and outputs
	Busybox  string // a directory with a static busybox
	Registry *Registry
	Out, Log io.Writer
	Trials   int
	Deadline time.Time // no trial but a case's first begins later; zero for never

	trial int // over all cases: each has a number of its own
}

// Head writes what the lines are.
func (r *Runner) Head() {
	fmt.Fprint(r.Out, "# build CASE N PHASE ours_ms tenond_ms peer_ms ratio tenond_ratio\n# downloaded, extracted CASE N PHASE ours tenond peer, in bytes\n# cost CASE N PHASE THAN time cpu, in percent\n")
}

// Warm builds what all cases stand on.
func (r *Runner) Warm(ctx context.Context) error {
	dir := filepath.Join(r.Dir, "warm")
	if err := write(dir, map[string]string{"Dockerfile": head}); err != nil {
		return err
	}
	for _, b := range r.Builders {
		if err := r.warm(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) warm(ctx context.Context, b Builder) error {
	if _, err := b.Build(ctx, Request{Dir: filepath.Join(r.Dir, "warm"), Busybox: r.Busybox}); err != nil {
		return fmt.Errorf("%s: %w", b.Name(), err)
	}
	return nil
}

// figure is what is measured: a phase by a builder, or its bytes.
type figure struct{ what, of, phase, builder string }

// The figures of a phase: its time in ms, and bytes.
const (
	took         = "build"
	cpuOf        = "cpu"
	downloadedOf = "downloaded"
	extractedOf  = "extracted"
)

// figures are the values of all trials.
type figures struct {
	values map[figure][]float64
	// late are those of builds that did not end within the patience.
	late map[figure]bool
}

func (f figures) add(c Case, p Phase, b Builder, m measured) {
	at := figure{took, c.Name, p.Name, b.Name()}
	f.values[at] = append(f.values[at], float64(m.took.Microseconds())/1000)
	f.late[at] = f.late[at] || m.late
	at.what = cpuOf
	f.values[at] = append(f.values[at], float64(m.cpu))
	if p.Bytes {
		for what, n := range map[string]int64{downloadedOf: m.downloaded, extractedOf: m.extracted} {
			at.what = what
			f.values[at] = append(f.values[at], float64(n))
		}
	}
}

// median is that of a figure, and how it is written.
func (f figures) median(at figure) (float64, string) {
	all := f.values[at]
	if len(all) == 0 {
		return 0, "-"
	}
	slices.Sort(all)
	v := all[len(all)/2]
	switch {
	case at.what != took:
		return v, fmt.Sprintf("%.0f", v)
	case f.late[at]:
		return v, fmt.Sprintf(">%.1f", v)
	}
	return v, fmt.Sprintf("%.1f", v)
}

// Run measures cases and writes their lines: one trial of each, then another.
func (r *Runner) Run(ctx context.Context, cases []Case) error {
	all := figures{map[figure][]float64{}, map[figure]bool{}}
	trials := make([]int, len(cases))
	for n := range r.Trials {
		for i, c := range cases {
			if n > 0 && !r.Deadline.IsZero() && time.Now().After(r.Deadline) {
				continue
			}
			r.trial++
			trials[i]++
			for k := range r.Builders { // another one begins each time
				b := r.Builders[(k+n)%len(r.Builders)]
				if len(c.Costs) > 0 && b.Name() != "ours" {
					continue
				}
				fmt.Fprintf(r.Log, "# trial %d of %s by %s\n", n+1, c.Name, b.Name())
				if err := r.one(ctx, c, n, b, all); err != nil {
					return fmt.Errorf("%s of %s: %w", c.Name, b.Name(), err)
				}
			}
		}
	}
	for i, c := range cases {
		if trials[i] < r.Trials {
			fmt.Fprintf(r.Out, "# %s %d: %d of %d trials, for want of time\n", c.Name, c.N, trials[i], r.Trials)
		}
		for _, cost := range c.Costs {
			r.cost(c, cost, all)
		}
		for _, p := range c.Phases {
			if !p.Prepare && trials[i] > 0 {
				r.lines(c, p, all)
			}
		}
	}
	return nil
}

// lines writes the medians of a phase.
func (r *Runner) lines(c Case, p Phase, all figures) {
	of := func(what, builder string) (float64, string) {
		return all.median(figure{what, c.Name, p.Name, builder})
	}
	ours, o := of(took, "ours")
	daemon, t := of(took, "tenond")
	peer, q := of(took, "peer")
	least := ""
	if strings.HasPrefix(q, ">") {
		least = ">"
	}
	ratio := func(of float64) string {
		if of == 0 || peer == 0 {
			return "-"
		}
		return least + fmt.Sprintf("%.2f", peer/of)
	}
	fmt.Fprintf(r.Out, "build %s %d %s %s %s %s %s %s\n", c.Name, c.N, p.Name, o, t, q, ratio(ours), ratio(daemon))
	if !p.Bytes {
		return
	}
	for _, what := range []string{downloadedOf, extractedOf} {
		_, o := of(what, "ours")
		_, t := of(what, "tenond")
		_, q := of(what, "peer")
		fmt.Fprintf(r.Out, "%s %s %d %s %s %s %s\n", what, c.Name, c.N, p.Name, o, t, q)
	}
}

// cost writes what a phase of ours takes more than another one of the same trial, in percent:
// the medians for the time, and for that of the processors.
func (r *Runner) cost(c Case, cost Cost, all figures) {
	more := func(what string) string {
		with := all.values[figure{what, c.Name, cost.Phase, "ours"}]
		than := all.values[figure{what, c.Name, cost.Than, "ours"}]
		if len(with) == 0 || len(with) != len(than) {
			return "-"
		}
		var percent []float64
		for i := range with {
			percent = append(percent, 100*(with[i]/than[i]-1))
		}
		slices.Sort(percent)
		return fmt.Sprintf("%+.1f", percent[len(percent)/2])
	}
	fmt.Fprintf(r.Out, "cost %s %d %s %s %s %s\n", c.Name, c.N, cost.Phase, cost.Than, more(took), more(cpuOf))
}

// inTurn are the phases of a case for a trial: where setups are compared, another one begins
// each time.
func inTurn(c Case, trial int) []Phase {
	phases := slices.Clone(c.Phases)
	if len(c.Costs) > 0 {
		last := func(p Phase) bool { return (p.As == "") == (trial%2 == 1) }
		slices.SortStableFunc(phases, func(a, b Phase) int {
			switch {
			case last(a) == last(b):
				return 0
			case last(b):
				return -1
			}
			return 1
		})
	}
	return phases
}

// one is a trial of one builder: all phases of a case.
func (r *Runner) one(ctx context.Context, c Case, trial int, b Builder, all figures) error {
	dir := filepath.Join(r.Dir, fmt.Sprintf("%s-%s-%d", c.Name, b.Name(), r.trial))
	files := c.Files(c.N)
	for name, text := range files {
		files[name] = strings.ReplaceAll(text, "NONCE", fmt.Sprint(r.trial))
	}
	files[".dockerignore"] = "Dockerfile\n.dockerignore\n"
	files["trial"] = fmt.Sprintln(r.trial)
	if err := write(dir, files); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	emptied := false
	for _, p := range inTurn(c, trial) {
		as, err := r.as(ctx, b, p.As)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		if as == nil {
			continue
		}
		if p.Edit != nil {
			if err := p.Edit(dir, r.trial); err != nil {
				return err
			}
		}
		emptied = emptied || p.Empty
		m, err := r.phase(ctx, p, as, r.request(c, p, b, dir))
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		all.add(c, p, b, m)
		if err := os.RemoveAll(dir + ".out"); err != nil {
			return err
		}
	}
	if !emptied {
		return nil
	}
	// What a builder has of a cache is not there without that cache.
	return errors.Join(b.Empty(ctx), r.warm(ctx, b))
}

// as is a builder in a setup; nil if it has no such.
func (r *Runner) as(ctx context.Context, b Builder, setup Setup) (Builder, error) {
	if setup == "" {
		return b, nil
	}
	ours, ok := b.(*Ours)
	if !ok {
		return nil, nil
	}
	other, fresh, err := ours.As(ctx, setup)
	if err != nil {
		return nil, err
	}
	if fresh {
		err = r.warm(ctx, other)
	}
	return other, err
}

// request is the build of a phase.
func (r *Runner) request(c Case, p Phase, b Builder, dir string) Request {
	req := Request{Dir: dir, Busybox: r.Busybox}
	repository := fmt.Sprintf("%s-%s-%d", c.Name, b.Name(), r.trial)
	switch p.Output {
	case "":
	case "image":
		req.Output = Output{Type: p.Output, Path: "bench.test/" + c.Name + ":latest"}
	case "push":
		req.Output = Output{Type: p.Output, Path: r.Registry.Host + "/" + repository + ":" + p.Name}
	default:
		req.Output = Output{Type: p.Output, Path: dir + ".out"}
	}
	if p.CacheTo {
		req.CacheTo = r.Registry.Host + "/" + repository + ":cache"
	}
	if p.CacheFrom {
		req.CacheFrom = r.Registry.Host + "/" + repository + ":cache"
	}
	if p.Silent {
		req.CacheFrom = r.Registry.Silent + "/" + repository + ":cache"
	}
	return req
}

// measured is what a phase has cost.
type measured struct {
	took                  time.Duration
	cpu                   time.Duration // of this process, and of those that it has started
	late                  bool          // it was not waited for any longer
	downloaded, extracted int64
}

// phase measures one phase.
func (r *Runner) phase(ctx context.Context, p Phase, b Builder, req Request) (m measured, err error) {
	if p.Command {
		m.took, err = command(ctx, b, req)
		return m, err
	}
	if p.Empty {
		if err := b.Empty(ctx); err != nil {
			return m, err
		}
	}
	if !p.Bytes {
		return r.timed(ctx, p, b, req)
	}
	had, err := extracted(b.Root())
	if err != nil {
		return m, err
	}
	r.Registry.sent.Store(0)
	if m, err = r.timed(ctx, p, b, req); err != nil {
		return m, err
	}
	m.downloaded = r.Registry.sent.Load()
	m.extracted, err = extracted(b.Root())
	m.extracted -= had
	return m, err
}

// timed times the builds of a phase.
func (r *Runner) timed(ctx context.Context, p Phase, b Builder, req Request) (m measured, err error) {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if p.Patience > 0 {
		limited, cancel = context.WithTimeout(ctx, p.Patience)
	}
	defer cancel()
	if p.Silent {
		defer r.Registry.silence()()
	}
	var ran atomic.Int64
	var eg errgroup.Group
	begin, used := time.Now(), cpu()
	for range max(p.AtOnce, 1) {
		eg.Go(func() error {
			n, err := b.Build(limited, req)
			ran.Add(int64(n))
			return err
		})
	}
	err = eg.Wait()
	m.took, m.cpu = time.Since(begin), cpu()-used
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		m.late = true
		return m, nil
	}
	want := p.Runs
	if b.Name() == "peer" && p.PeerRuns > 0 {
		want = p.PeerRuns
	}
	if err == nil && want >= 0 && int(ran.Load()) != want {
		err = fmt.Errorf("%d RUN steps were executed, and not %d", ran.Load(), want)
	}
	return m, err
}

// cpu is how much time of the processors this process has used, and those that it has started
// and that have ended.
func cpu() (sum time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}

// command times a command, from its start to its end. It is run once before: buildctl
// sends the whole context the first time, because the daemon knows contexts by who
// sends them.
func command(ctx context.Context, b Builder, req Request) (took time.Duration, err error) {
	resume, err := b.Idle(ctx)
	if err != nil {
		return 0, err
	}
	args := b.Command(req)
	for range 2 {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		begin := time.Now()
		said, err := cmd.CombinedOutput()
		took = time.Since(begin)
		if err != nil {
			return 0, fmt.Errorf("%s: %w\n%s", cmd, err, said)
		}
	}
	return took, resume(ctx)
}
