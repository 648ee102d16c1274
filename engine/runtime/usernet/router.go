package usernet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	tap       = "tap0" // in the router: slirp4netns's end
	mtu       = 65520
	outTable  = 100 // of routes: for what containers send
	startWait = 10 * time.Second
	endWait   = 2 * time.Second
)

// router is a namespace between those of containers and slirp4netns.
type router struct {
	subnet subnet
	ns     *os.File
	links  *netlink.Handle // speaks to the kernel about ns
	free   chan byte       // places in subnet that no container has
	steps  atomic.Uint32   // how many namespaces were made beside it

	process *os.Process
	alive   *os.File      // slirp4netns ends when it is closed
	ended   chan struct{} // closed when it has ended
	said    *tail
}

// startRouter makes a router, and waits until slirp4netns is ready.
func startRouter(ctx context.Context, program string, s subnet) (_ *router, err error) {
	r := &router{subnet: s, ended: make(chan struct{}), said: &tail{}}
	if r.ns, err = makeNamespace(routerSysctls); err != nil {
		return nil, err
	}
	if err := r.startProgram(ctx, program); err != nil {
		return nil, errors.Join(err, r.ns.Close())
	}
	if err := r.configure(); err != nil {
		return nil, errors.Join(fmt.Errorf("configuring the network of containers: %w", err), r.close())
	}
	places := s.places()
	r.free = make(chan byte, len(places))
	for _, p := range places {
		r.free <- p
	}
	return r, nil
}

// routerSysctls makes a router of the namespace of this thread, before it has links.
// It answers slirp4netns for containers (proxy_arp), and takes from a container only
// packets that have the container's address (rp_filter).
func routerSysctls() error {
	for _, v := range [][2]string{
		{"ipv4/ip_forward", "1"},
		{"ipv4/conf/all/rp_filter", "1"}, {"ipv4/conf/default/rp_filter", "1"},
		{"ipv4/conf/default/proxy_arp", "1"},
		{"ipv6/conf/all/disable_ipv6", "1"}, {"ipv6/conf/default/disable_ipv6", "1"},
	} {
		if err := sysctl(v[0], v[1]); err != nil {
			return err
		}
	}
	return nil
}

// startProgram starts slirp4netns for the router's namespace.
func (r *router) startProgram(ctx context.Context, program string) error {
	lives, alive, err := os.Pipe()
	if err != nil {
		return err
	}
	defer lives.Close()
	ready, tellReady, err := os.Pipe()
	if err != nil {
		return errors.Join(err, alive.Close())
	}
	defer ready.Close()
	cmd := exec.Command(program, "--configure", "--mtu="+fmt.Sprint(mtu), "--cidr="+r.subnet.String(),
		"--disable-host-loopback", "--enable-sandbox", "--enable-seccomp",
		"--exit-fd=4", "--ready-fd=5", "--netns-type=path", "/proc/self/fd/3", tap)
	cmd.ExtraFiles = []*os.File{r.ns, lives, tellReady}
	cmd.Stdout, cmd.Stderr = r.said, r.said
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid: true, // a Ctrl-C is for this process, which ends it when its containers have ended
		// Its sandbox unmounts the old root, and with it what is mounted below on
		// this machine, where mounts are shared. This makes them private to it.
		Unshareflags: syscall.CLONE_NEWNS,
	}
	err = cmd.Start()
	tellReady.Close()
	if err != nil {
		return errors.Join(fmt.Errorf("starting %s: %w", program, err), alive.Close())
	}
	r.process, r.alive = cmd.Process, alive
	go func() {
		defer close(r.ended)
		_ = cmd.Wait() // what it said tells more
	}()
	if err := r.waitReady(ctx, ready); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", program, err), r.stopProgram(0))
	}
	return nil
}

// waitReady waits until slirp4netns has written to ready.
func (r *router) waitReady(ctx context.Context, ready *os.File) error {
	ctx, stop := context.WithTimeoutCause(ctx, startWait, fmt.Errorf("it is not ready after %s", startWait))
	defer stop()
	defer context.AfterFunc(ctx, func() { ready.Close() })()
	if n, _ := ready.Read(make([]byte, 1)); n == 1 {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	<-r.ended
	return fmt.Errorf("it did not start: %s", r.said)
}

// configure has what comes from containers go to slirp4netns and nowhere else, and
// what comes from there go to containers.
func (r *router) configure() error {
	var err error
	if r.links, err = netlink.NewHandleAt(netns.NsHandle(r.ns.Fd())); err != nil {
		return err
	}
	// It would answer for containers after up to 0.8 seconds, by chance.
	if err := within(r.ns, func() error { return sysctl("ipv4/neigh/"+tap+"/proxy_delay", "0") }); err != nil {
		return err
	}
	link, err := r.links.LinkByName(tap)
	if err != nil {
		return err
	}
	out := &netlink.Route{
		LinkIndex: link.Attrs().Index, Table: outTable, Flags: int(netlink.FLAG_ONLINK),
		Dst: ipNet(netip.IPv4Unspecified(), 0), Gw: r.subnet.at(uplinkPlace).AsSlice(),
	}
	if err := r.links.RouteAdd(out); err != nil {
		return fmt.Errorf("route to slirp4netns: %w", err)
	}
	// "lo" is the router itself, which also asks by it where a sender's address is.
	for i, from := range []string{"lo", tap, ""} {
		rule := netlink.NewRule()
		rule.Family, rule.Priority, rule.IifName, rule.Table = netlink.FAMILY_V4, 100+i, from, unix.RT_TABLE_MAIN
		if from == "" {
			rule.Table = outTable
		}
		if err := r.links.RuleAdd(rule); err != nil {
			return fmt.Errorf("rule of routing: %w", err)
		}
	}
	return nil
}

// works is whether slirp4netns still runs.
func (r *router) works() bool {
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// close ends slirp4netns and gives up the namespace.
func (r *router) close() error {
	if r.links != nil {
		r.links.Close()
	}
	return errors.Join(r.stopProgram(endWait), r.ns.Close())
}

func (r *router) stopProgram(patience time.Duration) error {
	err := r.alive.Close()
	select {
	case <-r.ended:
		return err
	case <-time.After(patience):
	}
	err = errors.Join(err, r.process.Kill())
	<-r.ended
	return err
}

// tail keeps the end of what a program says.
type tail struct {
	mu  sync.Mutex // guards buf
	buf []byte
}

const tailSize = 2 << 10

// Write implements io.Writer.
func (t *tail) Write(dt []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, dt...)
	t.buf = bytes.Clone(t.buf[max(0, len(t.buf)-tailSize):])
	return len(dt), nil
}

// String is what was said, in one line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.Fields(string(t.buf)), " ")
}
