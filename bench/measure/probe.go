package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/tenonbuild/tenon/bench"
	"github.com/tenonbuild/tenon/bench/graph"
)

// Probe is what only a process that does nothing else can tell of a Build.
type Probe struct {
	// Live is how many bytes more there were after a garbage collection, with the
	// solver and the job still there.
	Live int64
	// Peak is by how many bytes the process was larger at its largest than before
	// the solver was made.
	Peak int64
	// Goroutines is the most there were at once.
	Goroutines int
}

// String is the line in which one process tells another.
func (p Probe) String() string { return fmt.Sprintf("probe %d %d %d", p.Live, p.Peak, p.Goroutines) }

// ParseProbe reads what String wrote.
func ParseProbe(line string) (p Probe, err error) {
	_, err = fmt.Sscanf(line, "probe %d %d %d", &p.Live, &p.Peak, &p.Goroutines)
	return p, err
}

// TakeProbe performs a cold build in this process. It is not timed, and a
// goroutine counts the others meanwhile.
func TakeProbe(ctx context.Context, s bench.Subject, shape graph.Shape, n int) (p Probe, err error) {
	g, err := graph.New(shape, n, seed)
	if err != nil {
		return p, err
	}
	var counts bench.Counts
	def := s.Define(g, false, &counts)
	debug.FreeOSMemory()
	base := settle()
	before, err := procStatus("VmRSS")
	if err != nil {
		return p, err
	}
	store, err := s.NewStore("")
	if err != nil {
		return p, err
	}
	if err := store.Open(); err != nil {
		return p, err
	}
	sv, err := s.NewSolver(store)
	if err != nil {
		return p, err
	}
	job, err := sv.NewJob("bench")
	if err != nil {
		return p, err
	}
	stop := countGoroutines()
	err = job.Build(ctx, def)
	p.Goroutines = stop()
	if err != nil {
		return p, err
	}
	after, err := procStatus("VmHWM")
	p.Peak = after - before
	runtime.GC() // what a pool holds goes with the second collection
	p.Live = int64(settle()) - int64(base)
	runtime.KeepAlive(def)
	err = errors.Join(err, job.Release(ctx), job.Discard())
	sv.Close()
	return p, errors.Join(err, store.Close())
}

// countGoroutines looks every now and then at how many goroutines there are,
// itself not counted, until it is stopped and tells the most it saw.
func countGoroutines() (stop func() int) {
	quit, most := make(chan struct{}), make(chan int)
	go func() {
		tick := time.NewTicker(50 * time.Microsecond)
		defer tick.Stop()
		high := 0
		for {
			high = max(high, runtime.NumGoroutine()-1)
			select {
			case <-tick.C:
			case <-quit:
				most <- high
				return
			}
		}
	}()
	return func() int { close(quit); return <-most }
}

// procStatus reads a size from the kernel's account of this process.
func procStatus(name string) (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("peak memory is only known on Linux: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kB, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kB * 1024, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/self/status", name)
}

// Probe measures each solver in a process of its own, and prints the rows. That
// process is this program with -probe, which answers with a Probe's line.
func (r *Runner) Probe(ctx context.Context, shape graph.Shape, n int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	live, peak, goroutines := Row{}, Row{}, Row{}
	for _, s := range r.Subjects {
		c := Case{Kind: Plain, Shape: shape, N: n, Storage: Mem, Until: Cold}
		if s.Name() == peerName {
			if _, ok := r.peerCase(c, 0); !ok {
				continue
			}
		}
		cmd := exec.CommandContext(ctx, self, "-probe", "-only", string(shape), "-n", strconv.Itoa(n), "-solver", s.Name())
		cmd.Stderr = r.Log
		out, err := cmd.Output()
		if err == nil {
			var p Probe
			if p, err = ParseProbe(string(out)); err == nil {
				live[s.Name()] = float64(p.Live) / float64(n)
				peak[s.Name()] = float64(p.Peak) / float64(n)
				goroutines[s.Name()] = float64(p.Goroutines)
			}
		}
		if err != nil {
			r.fail(s.Name(), fmt.Sprintf("%s probe %s %d: %v", s.Name(), shape, n, err))
		}
	}
	if len(peak) > 0 {
		r.Table.Set(Key{Live, shape, n, Cold, Mem}, live)
		r.Table.Set(Key{Peak, shape, n, Cold, Mem}, peak)
		r.Table.Set(Key{Goroutines, shape, n, Cold, Mem}, goroutines)
	}
	return ctx.Err()
}
