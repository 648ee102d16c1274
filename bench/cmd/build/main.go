// Command build measures whole builds by Tenon and its daemon beside BuildKit, and prints
// a table.
// The README of the module says how to read it. It runs as root, on Linux, with runc
// and a static busybox.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/tenonbuild/tenon/bench/build"
)

// shortTime is how long after its start the short table begins another trial. What
// is left of a minute is for the trial that is under way.
const shortTime = 33 * time.Second

// options are what the flags say.
type options struct {
	short           bool
	only, builder   string
	trials          int
	dir, cpuProfile string
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	var o options
	env, _ := strconv.ParseBool(os.Getenv("SHORT"))
	flag.BoolVar(&o.short, "short", env, "print the short table, in about a minute where the programs have been built before; also with SHORT=1")
	flag.StringVar(&o.only, "only", "", "measure these cases, separated by commas")
	flag.StringVar(&o.builder, "builder", "ours,tenond,peer", "measure these builders, separated by commas: ours, tenond, peer")
	flag.IntVar(&o.trials, "trials", 3, "trials of each case")
	flag.StringVar(&o.dir, "dir", "", "directory for everything; it needs a few GB (default: a temporary one)")
	flag.StringVar(&o.cpuProfile, "cpuprofile", "", "write a CPU profile of this process, which ours is in, to this file")
	flag.Parse()
	logrus.SetLevel(logrus.ErrorLevel) // what containerd says to whoever embeds it
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	begin := time.Now()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return errors.New("builds are measured on Linux, as root: they mount file systems and run containers")
	}
	for name := range strings.SplitSeq(o.builder, ",") {
		if name != "ours" && name != "tenond" && name != "peer" {
			return fmt.Errorf("-builder %q: there are ours, tenond and peer", o.builder)
		}
	}
	cases := slices.DeleteFunc(build.Cases(o.short), func(c build.Case) bool {
		return o.only != "" && !slices.Contains(strings.Split(o.only, ","), c.Name)
	})
	if len(cases) == 0 {
		return fmt.Errorf("-only %q: there is no such case", o.only)
	}
	dir, err := os.MkdirTemp(o.dir, "tenon-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	busybox, err := build.Shell(ctx, dir)
	if err != nil {
		return err
	}
	builders, err := start(ctx, o, dir)
	defer func() {
		for _, b := range builders {
			err = errors.Join(err, b.Close())
		}
	}()
	if err != nil {
		return err
	}
	reg := build.NewRegistry()
	defer reg.Close()
	r := &build.Runner{Builders: builders, Registry: reg, Dir: dir, Busybox: busybox, Out: os.Stdout, Log: os.Stderr, Trials: o.trials}
	if o.short {
		r.Deadline = begin.Add(shortTime)
	}
	fmt.Printf("# %s %s/%s, %d processors\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	r.Head()
	if err := r.Warm(ctx); err != nil {
		return err
	}
	return profiled(o.cpuProfile, func() error { return r.Run(ctx, cases) })
}

// start starts the builders. Those that it returns are to be closed, also where
// there is an error.
func start(ctx context.Context, o options, dir string) (builders []build.Builder, err error) {
	for name := range strings.SplitSeq(o.builder, ",") {
		var b build.Builder
		switch name {
		case "ours":
			b, err = build.StartOurs(ctx, dir)
		case "tenond":
			b, err = build.StartTenond(ctx, dir)
		case "peer":
			b, err = build.StartPeer(ctx, dir)
		}
		if err != nil {
			return builders, err
		}
		builders = append(builders, b)
	}
	return builders, nil
}

// profiled does something under a CPU profile, if a file is named for it.
func profiled(file string, do func() error) (err error) {
	if file == "" {
		return do()
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return do()
}
