package main

import (
	"fmt"

	"github.com/spf13/pflag"
)

// passedOver are flags of buildkitd's that mean nothing here, by whether they take a value.
// What starts the daemon with them goes on doing so. Those of the worker of containerd's are
// not even named.
var passedOver = map[string]bool{
	"rootless": false, "oci-worker-rootless": false, "oci-worker-no-process-sandbox": false, "save-cache-debug": false,
	"oci-worker-platform": true, "oci-worker-proxy-snapshotter-path": true, "oci-worker-gc-keepstorage": true, "otel-socket-path": true,
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

// checkBuildkit names the flags that are passed over.
func checkBuildkit(p *pflag.FlagSet) (notices []string) {
	p.Visit(func(f *pflag.Flag) {
		if _, ok := passedOver[f.Name]; ok {
			notices = append(notices, fmt.Sprintf("the flag --%s means nothing here, and is passed over", f.Name))
		}
	})
	return notices
}
