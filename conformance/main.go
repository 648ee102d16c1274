// Command conformance runs BuildKit's integration tests, offline, with tenond as the
// daemon: see README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	dir     string // that has the lists
	cache   string // what is kept between runs
	daemon  string // a program; "" builds tenond, "buildkitd" builds that
	suites  string
	match   string
	shard   string
	jobs    int
	timeout time.Duration
	retries int
	record  bool
	short   bool
	logs    string
}

func parse(args []string) (o options, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return o, err
	}
	fs := flag.NewFlagSet("conformance", flag.ContinueOnError)
	fs.StringVar(&o.dir, "dir", "conformance", "`directory` with the lists")
	fs.StringVar(&o.cache, "cache", filepath.Join(cache, "tenon-conformance", version), "`directory` for what is kept between runs")
	fs.StringVar(&o.daemon, "daemon", "", "the `program` to test; buildkitd is BuildKit's own (default: tenond, built from this tree)")
	fs.StringVar(&o.suites, "suite", "client,dockerfile,buildctl,gateway,compat,network", "`suites` to run")
	fs.StringVar(&o.match, "run", "", "only tests whose name matches this `regexp`")
	fs.StringVar(&o.shard, "shard", "1/1", "`I/N`: every N-th test function, from the I-th on")
	fs.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "test functions that run at the same time")
	fs.DurationVar(&o.timeout, "timeout", 5*time.Minute, "the time that a test function may take")
	fs.IntVar(&o.retries, "retries", 1, "how often a function that fails is run again")
	fs.BoolVar(&o.record, "record", false, "write what fails into the lists of what is known to fail")
	fs.BoolVar(&o.short, "short", false, "only the functions in short.txt")
	fs.StringVar(&o.logs, "logs", "", "`directory` for what the tests say (default: logs in the cache)")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag", fs.Arg(0))
	}
	if o.logs == "" {
		o.logs = filepath.Join(o.cache, "logs")
	}
	return o, nil
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == inside {
		os.Exit(runInside(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "conformance: %v\n", err)
		os.Exit(1)
	}
}

// run runs the suites, and fails if a test fails that should not.
func run(ctx context.Context, o options) error {
	if os.Geteuid() != 0 {
		return errors.New("the daemon mounts file systems and runs containers: run this as root")
	}
	all, err := plans(o)
	if err != nil {
		return err
	}
	w, err := prepare(ctx, o, all)
	if err != nil {
		return err
	}
	defer w.close()
	bad := 0
	for _, p := range all {
		results, err := w.runAll(ctx, p)
		if err != nil {
			return err
		}
		r := p.compare(results)
		fmt.Print(r.text(p.name))
		bad += len(r.failed)
		if o.record {
			if err := p.record(o.dir, results); err != nil {
				return err
			}
		}
	}
	if bad > 0 && !o.record {
		return fmt.Errorf("%d tests failed that pass on buildkitd; what they said is in %s", bad, o.logs)
	}
	return nil
}

// plans are what the options choose.
func plans(o options) (all []*plan, err error) {
	match, err := regexp.Compile(o.match)
	if err != nil {
		return nil, err
	}
	suites, err := parseSuites(o.suites)
	if err != nil {
		return nil, err
	}
	for _, s := range suites {
		p, err := newPlan(o.dir, s)
		if err != nil {
			return nil, err
		}
		if o.short {
			if err := p.shorten(o.dir); err != nil {
				return nil, err
			}
		}
		if err := p.choose(match, o.shard); err != nil {
			return nil, err
		}
		if len(p.functions) > 0 {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("no test is chosen")
	}
	return all, nil
}
