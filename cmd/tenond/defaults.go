package main

import (
	"path/filepath"

	"github.com/tenonbuild/tenon/internal/release"
)

// defaults are what the daemon has where neither flags nor the configuration say something.
type defaults struct {
	program string
	version string
	config  string
	root    string
	address string
	// network is that of steps; "" is the engine's default.
	network string
	// provenance is the directory of what provenance says of the builder.
	provenance string
}

// byName are the defaults of a program that was started by a name. By that of buildkitd it
// has buildkitd's: who starts it so, such as the drivers of buildx, mounts a volume and puts
// files where that has them, and reads its version.
func byName(argv0 string) defaults {
	if filepath.Base(argv0) == "buildkitd" {
		return defaults{
			program: "buildkitd",
			version: release.BuildKitLine("buildkitd"),
			config:  "/etc/buildkit/buildkitd.toml", root: "/var/lib/buildkit",
			address: "unix:///run/buildkit/buildkitd.sock", network: "host",
			provenance: "/etc/buildkit/provenance.d",
		}
	}
	return defaults{
		program: "tenond", version: release.Line("tenond"),
		config: "/etc/tenon/tenond.toml", root: "/var/lib/tenon",
		address: "unix:///run/tenon/tenond.sock", provenance: "/etc/tenon/provenance.d",
	}
}
