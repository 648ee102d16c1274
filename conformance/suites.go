package main

import (
	"fmt"
	"strings"
)

const (
	module  = "github.com/moby/buildkit"
	version = "v0.33.1"
)

// suite is a list of tests that are run in the same way.
type suite struct {
	name    string
	pkg     string   // of BuildKit, with the tests
	env     []string // of the tests
	network bool     // in a network of their own, with CNI
	compat  bool     // compared with what buildkitd exports
	args    []string // of the daemon
}

// hostNetwork: the tests rely on buildkitd's default.
var hostNetwork = []string{"--oci-worker-net=host"}

// suites are all there are; "network" is two, since a test binary is one package.
var suites = []suite{
	{name: "client", pkg: "client", args: hostNetwork},
	{name: "dockerfile", pkg: "frontend/dockerfile", args: hostNetwork},
	{name: "buildctl", pkg: "cmd/buildctl", args: hostNetwork},
	{name: "gateway", pkg: "frontend/dockerfile", args: hostNetwork, env: []string{"FRONTEND_GATEWAY_ONLY=local:{frontend}"}},
	{name: "compat", pkg: "client", args: hostNetwork, compat: true},
	{name: "network-client", pkg: "client", network: true, env: networkEnv},
	{name: "network-dockerfile", pkg: "frontend/dockerfile", network: true, env: networkEnv},
}

var networkEnv = []string{"BUILDKIT_RUN_NETWORK_INTEGRATION_TESTS=1", "BUILDKIT_CNI_INIT_LOCK_PATH=/run/cni.lock"}

// parseSuites finds suites by their names, or by what comes before a dash.
func parseSuites(names string) (found []suite, err error) {
	for name := range strings.SplitSeq(names, ",") {
		n := len(found)
		for _, s := range suites {
			if s.name == name || strings.HasPrefix(s.name, name+"-") {
				found = append(found, s)
			}
		}
		if len(found) == n {
			return nil, fmt.Errorf("there is no suite %q", name)
		}
	}
	return found, nil
}

// testName is what the test binary of the suite is called.
func (s suite) testName() string {
	if s.compat {
		return "compat.test"
	}
	return strings.ReplaceAll(s.pkg, "/", "-") + ".test"
}
