package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/tenonbuild/tenon/engine/gcpolicy"
)

// passedOver are flags of buildkitd's that mean nothing here, by whether they take a value.
// What starts the daemon with them goes on doing so. Those of the worker of containerd's are
// not even named.
var passedOver = map[string]bool{
	"rootless": false, "oci-worker-rootless": false, "oci-worker-no-process-sandbox": false, "save-cache-debug": false,
	"oci-worker-platform": true, "oci-worker-proxy-snapshotter-path": true, "otel-socket-path": true,
}

var ofContainerd = map[string]bool{
	"containerd-worker-addr": true, "containerd-worker-labels": true, "containerd-worker-platform": true,
	"containerd-worker-namespace": true, "containerd-worker-runtime": true, "containerd-worker-net": true,
	"containerd-cni-config-path": true, "containerd-cni-binary-dir": true, "containerd-cni-pool-size": true,
	"containerd-worker-snapshotter": true, "containerd-worker-apparmor-profile": true, "containerd-worker-selinux": false,
	"containerd-max-parallelism": true, "containerd-worker-gc": false, "containerd-worker-gc-keepstorage": true,
}

// addBuildkit adds flags that are only there because buildkitd has them.
func addBuildkit(p *pflag.FlagSet) {
	for _, all := range []map[string]bool{passedOver, ofContainerd} {
		for name, value := range all {
			if value {
				p.StringArray(name, nil, "")
			} else {
				p.Bool(name, false, "")
			}
			p.Lookup(name).Hidden = true
		}
	}
}

// keepStorage reads the limits of --oci-worker-gc-keepstorage, in MB: what is reserved, and, if
// they are there, what is to stay free, and the most that is used.
func keepStorage(text string) (l gcpolicy.Limits, err error) {
	to := []*gcpolicy.Space{&l.ReservedSpace, &l.MinFreeSpace, &l.MaxUsedSpace}
	for i, part := range strings.SplitN(text, ",", len(to)) {
		mb, err := strconv.ParseInt(part, 10, 64)
		if err != nil || mb < 0 || mb > math.MaxInt64/1_000_000 {
			return l, fmt.Errorf("--oci-worker-gc-keepstorage=%s: it is RESERVED[,FREE[,MAXIMUM]], in MB", text)
		}
		to[i].Bytes = mb * 1_000_000
	}
	return l, nil
}

// checkBuildkit names the flags that are passed over.
func checkBuildkit(p *pflag.FlagSet) (notices []string) {
	p.Visit(func(f *pflag.Flag) {
		if _, ok := passedOver[f.Name]; ok {
			notices = append(notices, fmt.Sprintf("the flag --%s means nothing here, and is passed over", f.Name))
		}
	})
	return notices
}
