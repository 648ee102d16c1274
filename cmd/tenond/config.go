package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/util/resolver/config"
	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/devices"
	"github.com/tenonbuild/tenon/engine/frontend/dockerfile"
	"github.com/tenonbuild/tenon/engine/gateway"
	"github.com/tenonbuild/tenon/engine/gcpolicy"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/runtime"
	"github.com/tenonbuild/tenon/internal/regular"
)

// configuration is the configuration file: those keys of buildkitd.toml that mean
// something here.
type configuration struct {
	// Debug and Trace are older words for levels of Log.
	Debug        bool     `toml:"debug"`
	Trace        bool     `toml:"trace"`
	Log          logs     `toml:"log"`
	Root         string   `toml:"root"`
	Entitlements []string `toml:"insecure-entitlements"`
	// Grace is how long builds may go on when the daemon is to stop. It is tenond's own.
	Grace *gcpolicy.Duration `toml:"shutdownTimeout"`
	// ProxyNetwork has the steps of all builds reach others only by a proxy.
	ProxyNetwork bool `toml:"proxyNetwork"`
	// ProvenanceEnv is a directory of what provenance says of the builder.
	ProvenanceEnv string `toml:"provenanceEnvDir"`
	GRPC          struct {
		Address      []string `toml:"address"`
		DebugAddress string   `toml:"debugAddress"`
		UID          *int     `toml:"uid"`
		GID          *int     `toml:"gid"`
		TLS          tlsFiles `toml:"tls"`
	} `toml:"grpc"`
	Worker struct {
		OCI ociWorker `toml:"oci"`
		// Containerd is another daemon's business.
		Containerd map[string]any `toml:"containerd"`
	} `toml:"worker"`
	Cache struct {
		GHA struct {
			Verify struct {
				// Required is refused: caches would be read that it is to keep out.
				Required bool `toml:"required"`
			} `toml:"verify"`
		} `toml:"gha"`
	} `toml:"cache"`
	Frontend struct {
		Dockerfile struct {
			Enabled *bool `toml:"enabled"`
		} `toml:"dockerfile.v0"`
		Gateway struct {
			Enabled *bool `toml:"enabled"`
			// Allowed are repositories of frontends that are images; none stands for all.
			Allowed []string `toml:"allowedRepositories"`
		} `toml:"gateway.v0"`
	} `toml:"frontend"`
	Registry map[string]config.RegistryConfig `toml:"registry"`
	History  *history.Config                  `toml:"history"`
	// CDI has the devices that steps can be given.
	CDI struct {
		Disabled    bool     `toml:"disabled"`
		SpecDirs    []string `toml:"specDirs"`
		AutoAllowed []string `toml:"autoAllowed"`
	} `toml:"cdi"`
	DNS *struct {
		Nameservers   []string `toml:"nameservers"`
		Options       []string `toml:"options"`
		SearchDomains []string `toml:"searchDomains"`
	} `toml:"dns"`
	// notices are what there is to say of the configuration.
	notices []string
}

// ociWorker is [worker.oci].
type ociWorker struct {
	Enabled             *bool             `toml:"enabled"`
	Labels              map[string]string `toml:"labels"`
	Snapshotter         string            `toml:"snapshotter"`
	NetworkMode         string            `toml:"networkMode"`
	CNIConfigPath       string            `toml:"cniConfigPath"`
	CNIBinaryPath       string            `toml:"cniBinaryPath"`
	CNIPoolSize         int               `toml:"cniPoolSize"`
	BridgeName          string            `toml:"bridgeName"`
	BridgeSubnet        string            `toml:"bridgeSubnet"`
	Binary              string            `toml:"binary"`
	DefaultCgroupParent string            `toml:"defaultCgroupParent"`
	ApparmorProfile     string            `toml:"apparmor-profile"`
	SELinux             bool              `toml:"selinux"`
	MaxParallelism      int               `toml:"max-parallelism"`
	// UserRemap is refused: steps would have other users than it says.
	UserRemap string `toml:"userRemapUnsupported"`
	Collect   *bool  `toml:"gc"`
	// KeepStorage is an older word for ReservedSpace.
	KeepStorage gcpolicy.Space `toml:"gckeepstorage"`
	gcpolicy.Limits
	Policies []gcpolicy.Policy `toml:"gcpolicy"`
	// GC is made of these.
	GC gcpolicy.Config `toml:"-"`
}

// tlsFiles are files of certificates, for tcp.
type tlsFiles struct {
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
	CA   string `toml:"ca"`
}

// maxConfiguration is how many bytes a configuration file may have.
const maxConfiguration = 1 << 20

// readConfiguration reads a file, if there is one. What a key asks for that means nothing
// here is said: a configuration that was written for buildkitd goes on serving.
func readConfiguration(path string) (*configuration, error) {
	cfg := &configuration{}
	if isNull(path) {
		return cfg, nil
	}
	dt, err := regular.Read(path, maxConfiguration)
	if errors.Is(err, fs.ErrNotExist) {
		// As buildkitd has it, also of a file that was named.
		return cfg, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	d := toml.NewDecoder(bytes.NewReader(dt))
	d.DisallowUnknownFields()
	err = d.Decode(cfg)
	var unknown *toml.StrictMissingError
	var syntax *toml.DecodeError
	switch {
	case errors.As(err, &unknown):
		for _, e := range unknown.Errors {
			cfg.notices = append(cfg.notices, fmt.Sprintf("configuration %s: the key %s means nothing here, and is passed over", path, strings.Join(e.Key(), ".")))
		}
	case errors.As(err, &syntax):
		return nil, fmt.Errorf("configuration %s:\n%s", path, strings.TrimRight(syntax.String(), "\n"))
	case err != nil:
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return cfg, nil
}

// isNull is whether a path leads to /dev/null: a configuration that says nothing. Other
// devices and pipes are none, since they may never end.
func isNull(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// settleLogs has the older words for levels count where the level is not said.
func (c *configuration) settleLogs() {
	switch {
	case c.Log.Level != "":
	case c.Trace:
		c.Log.Level = "trace"
	case c.Debug:
		c.Log.Level = "debug"
	}
}

// settle fills in what was not said, and checks what was.
func (c *configuration) settle(d defaults) error {
	c.settleLogs()
	c.ProvenanceEnv = cmp.Or(c.ProvenanceEnv, d.provenance)
	root, err := filepath.Abs(cmp.Or(c.Root, d.root))
	if err != nil {
		return err
	}
	c.Root = root
	if len(c.GRPC.Address) == 0 {
		c.GRPC.Address = []string{d.address}
	}
	if c.Grace == nil {
		c.Grace = &gcpolicy.Duration{Duration: defaultGrace}
	}
	if c.Cache.GHA.Verify.Required {
		return errors.New("configuration: cache.gha.verify.required: sigstore's signatures are not verified here: have clients verify caches (verify=FILE of --cache-from)")
	}
	o := &c.Worker.OCI
	if o.Enabled != nil && !*o.Enabled {
		return errors.New("configuration: worker.oci is not enabled: there is no other worker")
	}
	if o.UserRemap != "" {
		return errors.New("configuration: worker.oci.userRemapUnsupported: users of steps cannot be mapped to others")
	}
	switch o.Snapshotter {
	case "auto":
		o.Snapshotter = ""
	case "", "overlayfs", "native":
	default:
		return fmt.Errorf("snapshotter %q: it can be auto, overlayfs or native", o.Snapshotter)
	}
	o.NetworkMode = cmp.Or(o.NetworkMode, d.network)
	switch o.NetworkMode {
	case "", "auto", "slirp4netns", "cni", "bridge", "host", "none":
	default:
		return fmt.Errorf("network %q: it can be auto, slirp4netns, cni, bridge, host or none", o.NetworkMode)
	}
	if o.GC.Enabled == nil {
		o.GC.Enabled = o.Collect
	}
	o.ReservedSpace = cmp.Or(o.ReservedSpace, o.KeepStorage)
	o.GC.Limits, o.GC.Policies = o.Limits, o.Policies
	return o.GC.Check()
}

func (c *configuration) engine() (engine.Options, error) {
	o := c.Worker.OCI
	opt := engine.Options{
		Root: c.Root, Snapshotter: o.Snapshotter, Parallelism: o.MaxParallelism, GC: o.GC,
		Registries: c.Registry, Labels: o.Labels, NoWait: true, Notice: notice,
		// Not nil: a build gets none but these.
		Entitlements: append([]string{}, c.Entitlements...), ProxyNetwork: c.ProxyNetwork,
		Runtime: runtime.Options{
			Binary: o.Binary,
			Network: runtime.Network{
				Mode: o.NetworkMode, CNIConfig: o.CNIConfigPath, CNIBinaries: o.CNIBinaryPath, CNIPool: o.CNIPoolSize,
				BridgeName: o.BridgeName, BridgeSubnet: o.BridgeSubnet,
			},
			CgroupParent: o.DefaultCgroupParent, ApparmorProfile: o.ApparmorProfile, SELinux: o.SELinux,
		},
	}
	for name, enabled := range map[string]*bool{
		dockerfile.Name: c.Frontend.Dockerfile.Enabled, gateway.ImageFrontend: c.Frontend.Gateway.Enabled,
	} {
		if enabled != nil && !*enabled {
			opt.WithoutFrontends = append(opt.WithoutFrontends, name)
		}
	}
	if a := c.Frontend.Gateway.Allowed; len(a) > 0 {
		opt.FrontendImages.Allowed = a
	}
	if c.DNS != nil {
		opt.Runtime.DNS = (*oci.DNSConfig)(c.DNS)
	}
	if c.CDI.Disabled {
		return opt, nil
	}
	dirs := c.CDI.SpecDirs
	if len(dirs) == 0 {
		dirs = devices.Directories
	}
	// Which devices a build gets is said for each.
	opt.Entitlements = append(opt.Entitlements, "device")
	var err error
	opt.Devices, err = devices.Open(dirs, c.CDI.AutoAllowed, notice)
	return opt, err
}
