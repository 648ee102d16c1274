package runtime_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
