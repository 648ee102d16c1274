// Command solver measures Tenon's solver beside a peer and a floor, and prints
// a table. The README of the module says how to read it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/tenonbuild/tenon/bench"
	"github.com/tenonbuild/tenon/bench/graph"
	"github.com/tenonbuild/tenon/bench/measure"
)

// shortTime is how long the short table may take. What is left of 50 s is for
// a machine that is slower than it was a moment ago.
const shortTime = 44 * time.Second

// options are what the flags say.
type options struct {
	short, bars, probe     bool
	only, phase, storage   string
	n, trials              int
	solver                 string
	peerLimit, patience    time.Duration
	cpuProfile, memProfile string
}

func parse(args []string, out io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("solver", flag.ContinueOnError)
	fs.SetOutput(out)
	env, _ := strconv.ParseBool(os.Getenv("SHORT"))
	fs.BoolVar(&o.short, "short", env, "print the short table, within 50 s; also with SHORT=1")
	fs.BoolVar(&o.bars, "bars", false, "say after the table which bars are met")
	fs.StringVar(&o.only, "only", "", fmt.Sprintf("measure one shape: %v", graph.Shapes))
	fs.IntVar(&o.n, "n", 0, "measure graphs of one size")
	fs.StringVar(&o.phase, "phase", "", fmt.Sprintf("with -only and -n, measure one phase and what it needs: %v", measure.Phases()))
	fs.StringVar(&o.storage, "storage", string(measure.Mem), "with -phase, the storage: mem or bolt")
	fs.StringVar(&o.solver, "solver", "", "measure one solver: ours, peer or floor")
	fs.IntVar(&o.trials, "trials", 3, "trials of each case, at least")
	fs.DurationVar(&o.peerLimit, "peer-limit", time.Minute, "leave the peer out where a Build would take longer")
	fs.DurationVar(&o.patience, "patience", time.Second, "add trials to a short case for as long as this")
	fs.StringVar(&o.cpuProfile, "cpuprofile", "", "write a CPU profile to this file; what is timed has the label measured")
	fs.StringVar(&o.memProfile, "memprofile", "", "write a profile of all allocations to this file")
	fs.BoolVar(&o.probe, "probe", false, "with -only, -n and -solver: one cold build, and tell what this process took")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	return o, o.check()
}

func (o options) check() error {
	if o.only != "" && !slices.Contains(graph.Shapes, graph.Shape(o.only)) {
		return fmt.Errorf("no shape %q; there are %v", o.only, graph.Shapes)
	}
	if (o.phase != "" || o.probe) && (o.only == "" || o.n == 0) {
		return fmt.Errorf("-phase and -probe need -only and -n")
	}
	if o.storage != string(measure.Mem) && o.storage != string(measure.Bolt) {
		return fmt.Errorf("no storage %q", o.storage)
	}
	if len(o.subjects()) == 0 {
		return fmt.Errorf("no solver %q", o.solver)
	}
	return nil
}

// subjects are the solvers to measure.
func (o options) subjects() []bench.Subject {
	return slices.DeleteFunc(subjects(), func(s bench.Subject) bool {
		return o.solver != "" && s.Name() != o.solver
	})
}

// steps are the cases to measure.
func (o options) steps() ([]measure.Step, error) {
	if o.phase != "" {
		phase := measure.Phase(o.phase)
		kind, err := measure.KindOf(phase)
		c := measure.Case{Kind: kind, Shape: graph.Shape(o.only), N: o.n, Storage: measure.Storage(o.storage), Until: phase}
		return []measure.Step{{Case: c}}, err
	}
	if o.short {
		return measure.Only(measure.Short(), graph.Shape(o.only), o.n), nil
	}
	return measure.Only(measure.Full(), graph.Shape(o.only), o.n), nil
}

func main() {
	debug.SetTraceback("all") // a solver that hangs shows where
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	o, err := parse(os.Args[1:], os.Stderr)
	if err == flag.ErrHelp {
		return
	}
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "solver:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if o.probe {
		p, err := measure.TakeProbe(ctx, o.subjects()[0], graph.Shape(o.only), o.n)
		if err == nil {
			fmt.Println(p)
		}
		return err
	}
	steps, err := o.steps()
	if err != nil {
		return err
	}
	if len(steps) == 0 {
		return fmt.Errorf("the table has no such row; -phase measures one that it has not")
	}
	stop, err := startProfiles(o)
	if err != nil {
		return err
	}
	err = table(ctx, o, steps)
	if perr := stop(); err == nil {
		err = perr
	}
	return err
}

// table measures all steps and prints their rows.
func table(ctx context.Context, o options, steps []measure.Step) error {
	t := measure.NewTable(os.Stdout)
	fmt.Printf("# %s %s/%s, %d processors\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	t.Head()
	r := &measure.Runner{
		Subjects: o.subjects(), Table: t, Log: os.Stderr,
		Trials: o.trials, Patience: o.patience, PeerLimit: o.peerLimit,
	}
	if o.short {
		r.Patience = min(r.Patience, 200*time.Millisecond)
		r.Deadline = time.Now().Add(shortTime)
	}
	for _, s := range steps {
		var err error
		if s.Probe {
			err = r.Probe(ctx, s.Case.Shape, s.Case.N)
		} else {
			err = r.Run(ctx, s.Case)
		}
		if err != nil {
			return err
		}
	}
	measure.PrintScale(t)
	if o.bars {
		measure.PrintBars(os.Stdout, t)
	}
	if r.Wrong > 0 {
		return fmt.Errorf("%d trials failed, or ran what they should not have", r.Wrong)
	}
	return nil
}
