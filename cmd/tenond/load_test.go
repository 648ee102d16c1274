package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/internal/testenv"
)

var (
	loadBuilds = flag.Int("tenond.builds", 40, "builds of TestLoad; from 500 on it looks at the heap, too")
	loadSeed   = flag.Uint64("tenond.seed", 1, "what TestLoad builds")
)

const (
	loadClients = 8
	// loadChoices is how many steps there are to choose from.
	loadChoices = 3
	// heapBuilds is from how many builds on the heap is looked at, and heapGrowth what it may
	// grow by after the first tenth of them. Maps, and lists of the free pages of files, keep
	// the room that they needed when most was in the cache: so that is emptied after each tenth.
	heapBuilds = 500
	heapGrowth = 0.1
)

// Many clients build graphs that overlap, some without the cache, and a third of the
// clients is gone in the middle of it. Who stays gets what it should, and afterwards nothing
// is left of any.
func TestLoad(t *testing.T) {
	l := newLoad(t)
	if err := l.build(t.Context(), l.random(-1), false); err != nil {
		t.Fatal(err)
	}
	idle := l.settle(t, gauges{})
	l.run(t, 0, *loadBuilds/10)
	early := l.prune(t, idle)
	late, from := early, *loadBuilds/10
	for from < *loadBuilds {
		to := *loadBuilds
		if *loadBuilds >= heapBuilds { // to empty the cache takes some seconds
			to = min(to, from+*loadBuilds/10)
		}
		l.run(t, from, to)
		late, from = l.prune(t, idle), to
		t.Logf("after %d %v", to, late)
	}
	t.Logf("idle %v\nafter %d builds %v", idle, *loadBuilds/10, early)
	if most := early.heap * (1 + heapGrowth); *loadBuilds >= heapBuilds && late.heap > most {
		t.Errorf("the heap has %.0f bytes, and had %.0f after a tenth of the builds; -artifacts keeps both profiles", late.heap, early.heap)
		for name, g := range map[string]gauges{"early": early, "late": late} {
			if err := os.WriteFile(filepath.Join(t.ArtifactDir(), name+".heap"), g.profile, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	l.daemon.stop(t)
}

// load is a daemon, and what is built there.
type load struct {
	daemon *loadDaemon
	shell  fsutil.FS // busybox
	out    string
}

func newLoad(t *testing.T) *load {
	testenv.Root(t)
	testenv.Tool(t, "runc")
	busybox, err := os.ReadFile(testenv.Tool(t, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	shell := t.TempDir()
	if err := os.WriteFile(filepath.Join(shell, "busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	fs, err := fsutil.NewFS(shell)
	if err != nil {
		t.Fatal(err)
	}
	return &load{daemon: startLoadDaemon(t), shell: fs, out: t.TempDir()}
}

// random is what the build of a number is chosen by, whichever client does it.
func (l *load) random(n int) *rand.Rand { return rand.New(rand.NewPCG(*loadSeed, uint64(n))) }

// run does builds of the numbers from first to before last.
func (l *load) run(t *testing.T, first, last int) {
	t.Helper()
	var eg errgroup.Group
	eg.SetLimit(loadClients)
	for n := first; n < last; n++ {
		eg.Go(func() error {
			if err := l.build(t.Context(), l.random(n), n%3 == 0); err != nil {
				return fmt.Errorf("build %d: %w", n, err)
			}
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		t.Errorf("seed %d: %v", *loadSeed, err)
	}
}

// prune empties the cache, which would grow by what ignores it, once nothing uses it: steps
// of clients that were killed may end after their clients. It returns what there is then.
func (l *load) prune(t *testing.T, idle gauges) gauges {
	t.Helper()
	l.settle(t, idle)
	c, err := bkclient.New(t.Context(), "unix://"+l.daemon.socket)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Prune(t.Context(), nil, bkclient.PruneAll)
	left, duErr := c.DiskUsage(t.Context())
	if err := errors.Join(err, duErr, c.Close()); err != nil {
		t.Fatal(err)
	}
	for _, u := range left {
		t.Errorf("seed %d: a prune leaves %s (%s), in use: %v", *loadSeed, u.ID, u.Description, u.InUse)
	}
	return l.settle(t, idle)
}

// build is a client from its start to its end. One that is killed ends at some instant: what
// then becomes of its build does not matter.
func (l *load) build(ctx context.Context, r *rand.Rand, killed bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conns := &connections{}
	c, err := bkclient.New(ctx, "unix://"+l.daemon.socket, bkclient.WithContextDialer(conns.dial))
	if err != nil {
		return err
	}
	defer c.Close()
	def, err := l.graph(r).Marshal(ctx, llb.LinuxAmd64)
	if err != nil {
		return err
	}
	opt := bkclient.SolveOpt{LocalMounts: map[string]fsutil.FS{"shell": l.shell}, SharedKey: "load"}
	switch r.IntN(4) {
	case 0:
		discard := func(map[string]string) (io.WriteCloser, error) { return nopCloser{io.Discard}, nil }
		opt.Exports = []bkclient.ExportEntry{{Type: bkclient.ExporterOCI, Output: discard}}
	case 1:
		opt.Exports = []bkclient.ExportEntry{{Type: bkclient.ExporterImage, Attrs: map[string]string{"name": "load.test/app"}}}
	}
	if killed {
		// As if its process was killed: its end of the connection is closed, and nothing said.
		kill := time.AfterFunc(time.Duration(r.IntN(1500))*time.Millisecond, func() {
			conns.close()
			cancel()
		})
		defer kill.Stop()
	}
	status := make(chan *bkclient.SolveStatus)
	go func() {
		for range status {
		}
	}()
	_, err = c.Solve(ctx, def, opt, status)
	if killed {
		return nil
	}
	return err
}

// graph is a stack of steps, in which other stacks may be copied from.
func (l *load) graph(r *rand.Rand) llb.State {
	shell := llb.Scratch().File(llb.Copy(llb.Local("shell", llb.SharedKeyHint("shell")), "busybox", "/bin/", &llb.CopyInfo{CreateDestPath: true}))
	s := shell
	for range 1 + r.IntN(3) {
		s = l.step(r, s)
	}
	if r.IntN(3) == 0 {
		s = s.File(llb.Copy(l.step(r, shell), "/made", "/copied"))
	}
	return s
}

// step runs one of a few commands, rarely without looking into the cache.
func (l *load) step(r *rand.Rand, s llb.State) llb.State {
	n := r.IntN(loadChoices)
	opts := []llb.RunOption{llb.Args([]string{"/bin/busybox", "sh", "-c", fmt.Sprintf("busybox sleep 0.%d; echo %d >>/made", n, n)}), llb.AddEnv("PATH", "/bin")}
	if r.IntN(8) == 0 {
		opts = append(opts, llb.IgnoreCache)
	}
	return s.Run(opts...).Root()
}

// connections are those of a client.
type connections struct {
	mu     sync.Mutex // guards what follows
	open   []net.Conn
	closed bool
}

func (c *connections) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", addr[len("unix://"):])
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.Join(errors.New("this client was killed"), conn.Close())
	}
	c.open = append(c.open, conn)
	return conn, nil
}

func (c *connections) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, conn := range c.open {
		_ = conn.Close()
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
