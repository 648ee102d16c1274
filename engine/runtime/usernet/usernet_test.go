package usernet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/util/network"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/internal/testenv"
)

// machineVar is set in the process whose network is the tests' own: their "machine"
// has the address outside, a name server on its loopback, and nothing else.
const machineVar = "TENON_TEST_MACHINE"

var outside = netip.MustParseAddr("203.0.113.1")

func TestMain(m *testing.M) {
	if os.Getuid() != 0 || os.Getenv(machineVar) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), machineVar+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// machine sets up the tests' machine, once.
func machine(t *testing.T) (program string) {
	t.Helper()
	testenv.Root(t)
	program = testenv.Tool(t, "slirp4netns")
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if lo.Attrs().Flags&net.FlagUp != 0 {
		return program
	}
	// An address on the device lo is not one of 127.0.0.0/8: it stands for those that
	// this machine has and reaches.
	if err := errors.Join(netlink.LinkSetUp(lo), netlink.AddrAdd(lo, &netlink.Addr{IPNet: ipNet(outside, 32)})); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	err = errors.Join(os.WriteFile(conf, []byte("nameserver 127.0.0.1\n"), 0o644), unix.Mount(conf, "/etc/resolv.conf", "", unix.MS_BIND, ""))
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func provider(t *testing.T) *Provider {
	t.Helper()
	p := New(Options{Program: machine(t)})
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func namespace(t *testing.T, p *Provider) *Namespace {
	t.Helper()
	ns, err := p.New(t.Context(), "", network.NamespaceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.(*Namespace)
}

// inside runs f on a thread in a namespace.
func inside(t *testing.T, ns *os.File, f func() error) {
	t.Helper()
	if err := within(ns, f); err != nil {
		t.Fatal(err)
	}
}

// connect connects as a program does, without goroutines, and returns what it reads.
func connect(addr netip.AddrPort) (string, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 20})
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		return "", err
	}
	buf := make([]byte, 64)
	n, err := unix.Read(fd, buf)
	return string(buf[:max(n, 0)]), err
}

// serve says what to whoever connects.
func serve(t *testing.T, addr, what string) netip.AddrPort {
	t.Helper()
	ln := listen(t, addr)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(what))
			c.Close()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func listen(t *testing.T, addr string) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

// A container reaches out, and not the machine's loopback, the router, or another.
func TestReaches(t *testing.T) {
	p := provider(t)
	one, other := namespace(t, p), namespace(t, p)
	out := serve(t, outside.String()+":0", "hello")
	local := serve(t, "127.0.0.1:0", "secret")
	inside(t, other.ns, func() error {
		ln, err := net.Listen("tcp4", "0.0.0.0:4711")
		t.Cleanup(func() { ln.Close() })
		return err
	})
	inside(t, one.ns, func() error {
		if got, err := connect(out); err != nil || got != "hello" {
			return fmt.Errorf("outside: %q, %v", got, err)
		}
		for _, a := range []netip.AddrPort{
			local, // its own loopback
			netip.AddrPortFrom(one.router.subnet.at(uplinkPlace), local.Port()),
			netip.AddrPortFrom(one.router.subnet.at(dnsPlace), local.Port()),
			netip.AddrPortFrom(one.router.subnet.at(routerPlace), local.Port()),
			netip.AddrPortFrom(other.router.subnet.at(other.place), 4711),
		} {
			if got, err := connect(a); err == nil {
				return fmt.Errorf("%s is reached: %q", a, got)
			}
		}
		return nil
	})
}

// syn is a frame that begins a TCP connection.
func syn(to, from net.HardwareAddr, src, dst netip.AddrPort) []byte {
	sum := func(parts ...[]byte) uint16 {
		var s uint32
		for dt := bytes.Join(parts, nil); len(dt) > 1; dt = dt[2:] {
			s += uint32(binary.BigEndian.Uint16(dt))
		}
		for s > 0xffff {
			s = s>>16 + s&0xffff
		}
		return ^uint16(s)
	}
	ip := []byte{0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0}
	ip = append(append(ip, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(ip[10:], sum(ip))
	tcp := make([]byte, 20)
	binary.BigEndian.PutUint16(tcp[0:], src.Port())
	binary.BigEndian.PutUint16(tcp[2:], dst.Port())
	tcp[7], tcp[12], tcp[13], tcp[14] = 1, 5<<4, 2, 0xff
	binary.BigEndian.PutUint16(tcp[16:], sum(ip[12:20], []byte{0, 6, 0, 20}, tcp))
	return bytes.Join([][]byte{to, from, {8, 0}, ip, tcp}, nil)
}

// attack sends a frame for addr from a namespace, in which link leads to the address
// of hardware to, and afterwards connects to fence as a program does: when that has
// been accepted, the frame has been dealt with. It returns whether addr was reached.
func attack(t *testing.T, ns *os.File, link string, to net.HardwareAddr, src netip.Addr, target *net.TCPListener, as netip.Addr) bool {
	t.Helper()
	fence := serve(t, outside.String()+":0", "fence")
	inside(t, ns, func() error {
		h, err := netlink.NewHandle()
		if err != nil {
			return err
		}
		defer h.Close()
		l, err := h.LinkByName(link)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		port := target.Addr().(*net.TCPAddr).AddrPort().Port()
		frame := syn(to, l.Attrs().HardwareAddr, netip.AddrPortFrom(src, 43210), netip.AddrPortFrom(as, port))
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}); err != nil {
			return err
		}
		_, err = connect(fence)
		return err
	})
	_ = target.SetDeadline(time.Now().Add(50 * time.Millisecond))
	c, err := target.Accept()
	if err == nil {
		c.Close()
	}
	return err == nil
}

// A frame for the machine's loopback that a container wrote by itself goes nowhere.
// slirp4netns alone would make a connection of it.
func TestRawFrames(t *testing.T) {
	p := provider(t)
	s := namespace(t, p)
	r := s.router
	end, err := r.links.LinkByName(s.outside)
	if err != nil {
		t.Fatal(err)
	}
	own := r.subnet.at(s.place)
	for _, as := range []string{"127.0.0.1", "127.0.0.2", "0.0.0.0", "10.0.2.2", "10.0.2.255", "255.255.255.255"} {
		target := listen(t, "0.0.0.0:0")
		if attack(t, s.ns, eth, end.Attrs().HardwareAddr, own, target, netip.MustParseAddr(as)) {
			t.Errorf("a frame for %s reaches the machine's loopback", as)
		}
	}
	// One from somebody else's address goes nowhere, either.
	target := listen(t, outside.String()+":0")
	if attack(t, s.ns, eth, end.Attrs().HardwareAddr, r.subnet.at(200), target, outside) {
		t.Error("a frame from the address of another is passed on")
	}
	// The same frames are good: one for outside arrives.
	if !attack(t, s.ns, eth, end.Attrs().HardwareAddr, own, target, outside) {
		t.Error("no frame arrives: the test is none")
	}
	direct := net.HardwareAddr{0x52, 0x55, 10, 0, 2, 2}
	if attack(t, r.ns, tap, direct, r.subnet.at(routerPlace), listen(t, "127.0.0.1:0"), netip.MustParseAddr("127.0.0.1")) {
		t.Log("slirp4netns alone lets a container connect to the machine's loopback")
	}
}

// A container asks the machine's name server, though it listens on the loopback only.
func TestDNS(t *testing.T) {
	s := namespace(t, provider(t))
	server, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(append([]byte("answer to "), buf[:n]...), from)
		}
	}()
	inside(t, s.ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
		if err := unix.Sendto(fd, []byte("question"), 0, &unix.SockaddrInet4{Port: 53, Addr: s.DNS().As4()}); err != nil {
			return err
		}
		buf := make([]byte, 64)
		n, err := unix.Read(fd, buf)
		if got := string(buf[:max(n, 0)]); got != "answer to question" {
			return fmt.Errorf("%q, %v", got, err)
		}
		return nil
	})
}

// The next container has a namespace of before, unless one might have changed it.
func TestReuse(t *testing.T) {
	p := provider(t)
	spec := func(caps ...string) *specs.Spec {
		return &specs.Spec{Linux: &specs.Linux{}, Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}}
	}
	one := namespace(t, p)
	s := spec("CAP_NET_RAW")
	if err := errors.Join(one.Set(s), one.Close()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), one.ns.Fd())
	if n := s.Linux.Namespaces; len(n) != 1 || n[0].Path != want {
		t.Errorf("the namespaces are %v", n)
	}
	again := namespace(t, p)
	if again != one {
		t.Error("a namespace is not used again")
	}
	if err := errors.Join(again.Set(spec("CAP_NET_ADMIN")), again.Close()); err != nil {
		t.Fatal(err)
	}
	out := serve(t, outside.String()+":0", "hello")
	for range 3 { // at the place of the one that is given up, too
		next := namespace(t, p)
		if next == one {
			t.Fatal("a namespace is used again that may have been changed")
		}
		inside(t, next.ns, func() error {
			if got, err := connect(out); got != "hello" {
				return fmt.Errorf("%q, %v", got, err)
			}
			return nil
		})
	}
}

// More containers than there are places wait for each other, and can be cancelled.
func TestPlaces(t *testing.T) {
	p := provider(t)
	first := namespace(t, p)
	r := first.router
	for len(r.free) > 0 {
		<-r.free
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.New(ctx, "", network.NamespaceOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	first.used = true
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	namespace(t, p)
}

// One slirp4netns that was killed is followed by another. It ends with its provider.
func TestEnds(t *testing.T) {
	p := provider(t)
	first := namespace(t, p)
	if err := first.router.process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.router.ended
	out := serve(t, outside.String()+":0", "hello")
	next := namespace(t, p)
	inside(t, next.ns, func() error {
		_, err := connect(out)
		return err
	})
	if err := errors.Join(first.Close(), next.Close(), p.Close()); err != nil {
		t.Fatal(err)
	}
	<-next.router.ended
	if _, err := p.New(t.Context(), "", network.NamespaceOptions{}); err == nil {
		t.Error("a closed provider gives a network")
	}
}

// slirp4netns ends when the process is killed that has started it.
func TestKilled(t *testing.T) {
	program := machine(t)
	if os.Getenv("TENON_TEST_KILLED") != "" {
		p := New(Options{Program: program})
		fmt.Printf("\npid %d\n", namespace(t, p).router.process.Pid)
		<-make(chan struct{})
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "TENON_TEST_KILLED=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	for lines := bufio.NewScanner(stdout); pid == 0 && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "pid %d", &pid)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n != 1 || err != nil {
			t.Errorf("it still runs: %v", err)
		}
		return
	}
}

// A program that fails, or that never is ready, is an error that says why.
func TestBadProgram(t *testing.T) {
	machine(t)
	dir := t.TempDir()
	script := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for program, want := range map[string]string{
		script("fails", "echo no tun here >&2; exit 1"): "no tun here",
		filepath.Join(dir, "none"):                      "no such file",
	} {
		p := New(Options{Program: program})
		if err := p.Warm(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", program, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	p := New(Options{Program: script("hangs", "exec sleep 600")})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.Warm(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}

// The subnet is one that this machine does not reach otherwise.
func TestPick(t *testing.T) {
	all := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if got := pick(nil).String(); got != "10.0.2.0/24" {
		t.Errorf("with nothing taken: %s", got)
	}
	if got := pick(all).String(); got != "172.30.213.0/24" {
		t.Errorf("with 10.0.0.0/8 taken: %s", got)
	}
	for _, c := range candidates {
		all = append(all, netip.MustParsePrefix(c))
	}
	if got := pick(all).String(); got != "10.0.2.0/24" {
		t.Errorf("with all taken: %s", got)
	}
	machine(t)
	taken, err := used([]netip.Addr{netip.MustParseAddr("10.0.2.7"), netip.MustParseAddr("fe80::1")})
	if err != nil {
		t.Fatal(err)
	}
	if got := pick(taken); got.String() != "10.213.117.0/24" {
		t.Errorf("with a name server in the first: %s", got)
	}
	p := New(Options{Program: machine(t), Nameservers: []netip.Addr{netip.MustParseAddr("10.0.2.7")}})
	defer p.Close()
	s := namespace(t, p)
	out := serve(t, outside.String()+":0", "hello")
	inside(t, s.ns, func() error {
		_, err := connect(out)
		return err
	})
}
