package runtime_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/executor"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/solver/pb"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/runtime"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// Debian's package containernetworking-plugins.
const cniPlugins = "/usr/lib/cni"

// A network of CNI's is a container's own, and Close leaves nothing of those that
// are kept ready: no namespace, no address.
func TestCNI(t *testing.T) {
	testenv.Root(t)
	if _, err := os.Stat(filepath.Join(cniPlugins, "ptp")); err != nil {
		t.Skip("this test needs CNI plugins: apt-get install containernetworking-plugins")
	}
	root, dir := rootfs(t), t.TempDir()
	addresses, state := filepath.Join(dir, "addresses"), filepath.Join(dir, "state")
	conf := filepath.Join(dir, "net.conflist")
	err := os.WriteFile(conf, fmt.Appendf(nil, `{"cniVersion": "0.4.0", "name": "test", "plugins": [{"type": "ptp",
		"ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "192.0.2.0/24"}]]}}]}`, addresses), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	e, err := runtime.New(t.Context(), runtime.Options{
		Root: state, Binary: testenv.Tool(t, "runc"), CgroupParent: "tenon-test",
		Network: runtime.Network{CNIConfig: conf, CNIBinaries: cniPlugins, CNIPool: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := run(t.Context(), e, root, "ip addr")
	if err != nil || !strings.Contains(out, "192.0.2.") {
		t.Errorf("%q, %v", out, err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(filepath.Join(addresses, "test", "192.*"))
	if err != nil || len(left) > 0 {
		t.Errorf("addresses are left: %q, %v", left, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), state) {
		t.Errorf("something is left mounted:\n%s", mounts)
	}
}

// only makes a PATH with these programs, by name and where each is.
func only(t *testing.T, programs map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, path := range programs {
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

// Where nothing gives steps a network, they have a loopback, and are told why, and what
// to install. Each tries anew.
func TestNoNetwork(t *testing.T) {
	root, dir := rootfs(t), t.TempDir()
	runc, real := testenv.Tool(t, "runc"), testenv.Tool(t, "slirp4netns")
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	bad := script(t, dir, "slirp4netns", fmt.Sprintf("[ ! -e %s ] || { echo no tun here >&2; exit 1; }; exec %s \"$@\"", broken, real))
	// links are what a step sees, and what whoever builds is told of it.
	links := func(e *runtime.Executor) (seen, told string) {
		seen, err := run(e.Noticing(t.Context(), func(text string) { told += text }), e, root, "ls /sys/class/net; cat /sys/class/net/lo/operstate")
		if err != nil {
			t.Fatalf("%q, %v", seen, err)
		}
		return seen, told
	}
	for _, c := range []struct {
		programs map[string]string
		want     string
	}{
		{map[string]string{"runc": runc}, "apt-get install slirp4netns"},
		{map[string]string{"runc": runc, "slirp4netns": bad, "sh": "/bin/sh"}, "no tun here"},
	} {
		only(t, c.programs)
		e := newExecutor(t, runtime.Options{})
		for range 2 {
			if seen, told := links(e); !strings.HasPrefix(seen, "lo\n") || strings.Count(told, c.want) != 1 {
				t.Errorf("%q: it has %q, and is told %q", c.want, seen, told)
			}
		}
		if c.programs["slirp4netns"] == "" {
			continue
		}
		if err := os.Remove(broken); err != nil {
			t.Fatal(err)
		}
		if seen, told := links(e); !strings.HasPrefix(seen, "eth0\n") || told != "" {
			t.Errorf("afterwards it has %q, and is told %q", seen, told)
		}
	}
	only(t, map[string]string{"runc": runc})
	_, err := runtime.New(t.Context(), runtime.Options{Root: t.TempDir(), Network: runtime.Network{Mode: "slirp4netns"}})
	if err == nil || !strings.Contains(err.Error(), "apt-get install slirp4netns") {
		t.Errorf("the error is %v", err)
	}
}

// answer serves names: each has the address 192.0.2.99.
func answer(conn net.PacketConn) {
	buf := make([]byte, 512)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Response, m.Additionals = true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			h := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}
			m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, 99}}}}
		}
		if dt, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(dt, from)
		}
	}
}

// Names are found in a step where this machine's name server listens on its loopback
// only. The test runs in a process whose network and files of /etc are its own.
func TestNames(t *testing.T) {
	testenv.Root(t)
	testenv.Tool(t, "slirp4netns")
	if os.Getenv("TENON_TEST_NAMES") == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNames$", "-test.v")
		cmd.Env = append(os.Environ(), "TENON_TEST_NAMES=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Unshareflags: syscall.CLONE_NEWNS}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.1\nsearch example.org\noptions ndots:2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(conf, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	server, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go answer(server)

	root := rootfs(t)
	e := newExecutor(t, runtime.Options{})
	for range 2 { // the file is kept
		out, err := run(t.Context(), e, root, "busybox cat /etc/resolv.conf; busybox nslookup -type=a some.name")
		if err != nil || !strings.Contains(out, "192.0.2.99") || !strings.Contains(out, "search example.org") || !strings.Contains(out, "options ndots:2") {
			t.Errorf("%v\n%s", err, out)
		}
		// A step with this machine's network asks the server as this machine does.
		meta := executor.Meta{Args: []string{"/bin/sh", "-c", "busybox nslookup -type=a other.name"}, Cwd: "/", NetMode: pb.NetMode_HOST}
		out, err = runMeta(t.Context(), e, root, nil, meta, nil)
		if err != nil || !strings.Contains(out, "192.0.2.99") {
			t.Errorf("host: %v\n%s", err, out)
		}
	}
	staysMounted(t, e, root, conf)
	// So does one where this machine's network is the default.
	out, err := run(t.Context(), newExecutor(t, runtime.Options{Network: runtime.Network{Mode: "host"}}), root, "busybox cat /etc/resolv.conf")
	if err != nil || !strings.Contains(out, "nameserver 127.0.0.1") {
		t.Errorf("by default: %v\n%s", err, out)
	}
	// What is configured goes before.
	e = newExecutor(t, runtime.Options{DNS: &oci.DNSConfig{Nameservers: []string{"192.0.2.53"}, SearchDomains: []string{"own.example"}}})
	out, err = run(t.Context(), e, root, "busybox cat /etc/resolv.conf")
	if err != nil || !strings.Contains(out, "nameserver 192.0.2.53") || !strings.Contains(out, "search own.example") {
		t.Errorf("configured: %v\n%s", err, out)
	}
}

// The file with name servers that a container has is not replaced while it runs, by
// another container that begins: runc refuses a mount whose file was replaced since its
// last look. For BuildKit's executor its file is too old each time if conf, which is
// this machine's, is from the future.
func staysMounted(t *testing.T, e *runtime.Executor, root executor.Mountable, conf string) {
	t.Helper()
	future := time.Now().Add(time.Hour)
	if err := os.Chtimes(conf, future, future); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []pb.NetMode{pb.NetMode_UNSET, pb.NetMode_NONE, pb.NetMode_HOST} {
		meta := executor.Meta{Args: []string{"/bin/sh", "-c", "echo begun; read x; busybox stat -c %h /etc/resolv.conf"}, Cwd: "/", Env: []string{"PATH=/bin"}, NetMode: mode}
		stdin, tell := io.Pipe()
		stdout, printed := io.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, err := e.Run(t.Context(), "", executor.Mount{Src: root}, nil, executor.ProcessInfo{Meta: meta, Stdin: stdin, Stdout: printed}, nil)
			ended <- errors.Join(err, printed.Close())
		}()
		lines := bufio.NewScanner(stdout)
		lines.Scan() // begun
		if out, err := runMeta(t.Context(), e, root, nil, executor.Meta{Args: []string{"/bin/true"}, Cwd: "/", NetMode: mode}, nil); err != nil {
			t.Errorf("%s: %v\n%s", mode, err, out)
		}
		if _, err := io.WriteString(tell, "\n"); err != nil {
			t.Error(err)
		}
		lines.Scan()
		if links := lines.Text(); links != "1" {
			t.Errorf("%s: the file of a container has %s links", mode, links)
		}
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestReachableNames(t *testing.T) {
	for _, c := range []struct{ servers, want string }{
		{"", "10.0.2.3"},
		{"127.0.0.53", "10.0.2.3"},
		{"192.0.2.1 198.51.100.1", "192.0.2.1 198.51.100.1"},
		{"192.0.2.1 127.0.0.1", "10.0.2.3 192.0.2.1"},
		{"fe80::1 ::1", "10.0.2.3"},
		{"2001:db8::1 192.0.2.1", "10.0.2.3 192.0.2.1"},
		{"0.0.0.0", "10.0.2.3"},
	} {
		var got []string
		for _, s := range runtime.Reachable(addrs(c.servers), netip.MustParseAddr("10.0.2.3")) {
			got = append(got, s.String())
		}
		if !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%q: %q, not %q", c.servers, got, c.want)
		}
	}
}

func addrs(list string) []netip.Addr {
	var out []netip.Addr
	for _, s := range strings.Fields(list) {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// Abstract unix sockets are of a network namespace: a step sees this machine's only
// where it has this machine's network.
func TestAbstractSockets(t *testing.T) {
	ln, err := net.Listen("unix", "@tenon-test-abstract")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	root := rootfs(t)
	e := newExecutor(t, runtime.Options{})
	for mode, want := range map[pb.NetMode]bool{pb.NetMode_UNSET: false, pb.NetMode_NONE: false, pb.NetMode_HOST: true} {
		meta := executor.Meta{Args: []string{"/bin/cat", "/proc/net/unix"}, Cwd: "/", NetMode: mode}
		out, err := runMeta(t.Context(), e, root, nil, meta, nil)
		if err != nil || strings.Contains(out, "@tenon-test-abstract") != want {
			t.Errorf("%s: %v\n%s", mode, err, out)
		}
	}
}
