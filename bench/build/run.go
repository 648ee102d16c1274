package build

import (
	"context"
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
)

// Runner measures cases, each builder in turn.
type Runner struct {
	Builders []Builder
	Dir      string // for contexts and outputs
	Busybox  string // a directory with a static busybox
	Out, Log io.Writer
	Trials   int
	Deadline time.Time // no trial but a case's first begins later; zero for never

	trial int // over all cases: each has a number of its own
}

// Head writes what the lines are.
func (r *Runner) Head() {
	fmt.Fprintf(r.Out, "# build CASE N PHASE ours_ms tenond_ms peer_ms ratio tenond_ratio\n")
}

// Warm builds what all cases stand on.
func (r *Runner) Warm(ctx context.Context) error {
	dir := filepath.Join(r.Dir, "warm")
	if err := write(dir, map[string]string{"Dockerfile": head}); err != nil {
		return err
	}
	for _, b := range r.Builders {
		if _, err := b.Build(ctx, Request{Dir: dir, Busybox: r.Busybox}); err != nil {
			return fmt.Errorf("%s: %w", b.Name(), err)
		}
	}
	return nil
}

// figures are what builds took: by case, phase and builder.
type figures map[string]map[string]map[string][]time.Duration

func (f figures) add(c Case, p Phase, b Builder, took time.Duration) {
	if f[c.Name] == nil {
		f[c.Name] = map[string]map[string][]time.Duration{}
	}
	if f[c.Name][p.Name] == nil {
		f[c.Name][p.Name] = map[string][]time.Duration{}
	}
	f[c.Name][p.Name][b.Name()] = append(f[c.Name][p.Name][b.Name()], took)
}

// Run measures cases and writes their lines: one trial of each, then another.
func (r *Runner) Run(ctx context.Context, cases []Case) error {
	all := figures{}
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
				fmt.Fprintf(r.Log, "# trial %d of %s by %s\n", n+1, c.Name, b.Name())
				if err := r.one(ctx, c, b, all); err != nil {
					return fmt.Errorf("%s of %s: %w", c.Name, b.Name(), err)
				}
			}
		}
	}
	for i, c := range cases {
		if trials[i] < r.Trials {
			fmt.Fprintf(r.Out, "# %s %d: %d of %d trials, for want of time\n", c.Name, c.N, trials[i], r.Trials)
		}
		for _, p := range c.Phases {
			if !p.Prepare && trials[i] > 0 {
				r.line(c, p, all[c.Name][p.Name])
			}
		}
	}
	return nil
}

// line writes the medians of a phase.
func (r *Runner) line(c Case, p Phase, took map[string][]time.Duration) {
	figure := func(name string) (float64, string) {
		all := took[name]
		if len(all) == 0 {
			return 0, "-"
		}
		slices.Sort(all)
		ms := float64(all[len(all)/2].Microseconds()) / 1000
		return ms, fmt.Sprintf("%.1f", ms)
	}
	ours, o := figure("ours")
	daemon, t := figure("tenond")
	peer, q := figure("peer")
	ratio := func(of float64) string {
		if of == 0 || peer == 0 {
			return "-"
		}
		return fmt.Sprintf("%.2f", peer/of)
	}
	fmt.Fprintf(r.Out, "build %s %d %s %s %s %s %s %s\n", c.Name, c.N, p.Name, o, t, q, ratio(ours), ratio(daemon))
}

// one is a trial of one builder: all phases of a case.
func (r *Runner) one(ctx context.Context, c Case, b Builder, all figures) error {
	dir := filepath.Join(r.Dir, fmt.Sprintf("%s-%s-%d", c.Name, b.Name(), r.trial))
	files := c.Files(c.N)
	files["Dockerfile"] = strings.ReplaceAll(files["Dockerfile"], "NONCE", fmt.Sprint(r.trial))
	files[".dockerignore"] = "Dockerfile\n.dockerignore\n"
	files["trial"] = fmt.Sprintln(r.trial)
	if err := write(dir, files); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, p := range c.Phases {
		if p.Edit != nil {
			if err := p.Edit(dir, r.trial); err != nil {
				return err
			}
		}
		req := Request{Dir: dir, Busybox: r.Busybox}
		if p.Output != "" {
			req.Output = Output{Type: p.Output, Path: dir + ".out"}
			if p.Output == "image" {
				req.Output.Path = "bench.test/" + c.Name + ":latest"
			}
		}
		d, err := r.phase(ctx, p, b, req)
		if err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		all.add(c, p, b, d)
		if err := os.RemoveAll(dir + ".out"); err != nil {
			return err
		}
	}
	return nil
}

// phase times one phase.
func (r *Runner) phase(ctx context.Context, p Phase, b Builder, req Request) (time.Duration, error) {
	if p.Command {
		return command(ctx, b, req)
	}
	var ran atomic.Int64
	var eg errgroup.Group
	begin := time.Now()
	for range max(p.AtOnce, 1) {
		eg.Go(func() error {
			n, err := b.Build(ctx, req)
			ran.Add(int64(n))
			return err
		})
	}
	err := eg.Wait()
	took := time.Since(begin)
	if err == nil && p.Runs >= 0 && int(ran.Load()) != p.Runs {
		err = fmt.Errorf("%d RUN steps were executed, and not %d", ran.Load(), p.Runs)
	}
	return took, err
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
