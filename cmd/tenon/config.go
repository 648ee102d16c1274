package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/util/resolver/config"
	"github.com/moby/sys/userns"
	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/execop"
	"github.com/tenonbuild/tenon/engine/gcpolicy"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/runtime"
	"github.com/tenonbuild/tenon/internal/regular"
)

// configuration is the configuration file. Each field is what a flag or a variable
// of the environment says, which go before it.
type configuration struct {
	// Root is the folder of all state.
	Root string `toml:"root"`
	// Snapshotter is "overlayfs" or "native".
	Snapshotter string `toml:"snapshotter"`
	// Parallelism is how many steps run at once.
	Parallelism int `toml:"parallelism"`
	// Runtime says how containers are run.
	Runtime struct {
		// Binary is the OCI runtime, such as "runc" or "/usr/bin/crun".
		Binary string `toml:"binary"`
		// Network is "auto", "slirp4netns", "cni", "host" or "none".
		Network string `toml:"network"`
		// CNI is the configuration of CNI networks, and where their plugins are.
		CNI struct {
			Config   string `toml:"config"`
			Binaries string `toml:"binaries"`
		} `toml:"cni"`
		// Init is a statically linked program that reaps in each container, such as
		// catatonit; "" for none.
		Init string `toml:"init"`
	} `toml:"runtime"`
	// DNS is what steps have in resolv.conf in place of what this machine has. As in
	// buildkitd.toml.
	DNS struct {
		Nameservers   []string `toml:"nameservers"`
		Options       []string `toml:"options"`
		SearchDomains []string `toml:"searchDomains"`
	} `toml:"dns"`
	// GC says what is removed by itself, in buildkitd's words.
	GC gcpolicy.Config `toml:"gc"`
	// History says how many builds are recorded, and how long. As in buildkitd.toml.
	History *history.Config `toml:"history"`
	// Registry says how registries are reached, by host: mirrors, http, insecure,
	// ca, keypair. As in buildkitd.toml.
	Registry map[string]config.RegistryConfig `toml:"registry"`
}

// configure reads the configuration files, the environment and the flags, the
// later ones going before the earlier.
func (c *cli) configure() (*configuration, error) {
	cfg := &configuration{}
	for _, file := range c.configFiles() {
		if err := cfg.read(file.path, file.must); err != nil {
			return nil, err
		}
	}
	for name, field := range map[string]*string{
		"TENON_ROOT":        &cfg.Root,
		"TENON_SNAPSHOTTER": &cfg.Snapshotter,
		"TENON_RUNTIME":     &cfg.Runtime.Binary,
		"TENON_NETWORK":     &cfg.Runtime.Network,
	} {
		if v, ok := c.env(name); ok && v != "" {
			*field = v
		}
	}
	if c.flags.root != "" {
		cfg.Root = c.flags.root
	}
	if cfg.Root == "" {
		root, err := c.defaultRoot()
		if err != nil {
			return nil, err
		}
		cfg.Root = root
	}
	abs, err := filepath.Abs(cfg.Root)
	if err != nil {
		return nil, err
	}
	cfg.Root = abs
	return cfg, cfg.check()
}

// stepLogSize is how much of a step's output is shown, for each of its two streams. It
// is in memory until the build ends. Here, unlike in a daemon, somebody reads along,
// and so it may come as fast as it can.
const stepLogSize = 16 << 20

// stepLog are the limits of a step's output, which the environment may set as for
// buildkitd: -1 is none.
func (c *cli) stepLog() (execop.LogLimits, error) {
	limits := execop.LogLimits{Size: stepLogSize, Rate: -1}
	for name, to := range map[string]*int{"BUILDKIT_STEP_LOG_MAX_SIZE": &limits.Size, "BUILDKIT_STEP_LOG_MAX_SPEED": &limits.Rate} {
		v, ok := c.env(name)
		if !ok || v == "" {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil || n < -1 || n == 0 {
			return limits, fmt.Errorf("%s is %q: it should be a number of bytes, or -1 for no limit", name, v)
		}
		*to = n
	}
	return limits, nil
}

// check says what of a configuration cannot be, and would otherwise be noticed by
// the first step that needs it.
func (cfg *configuration) check() error {
	switch n := cfg.Runtime.Network; n {
	case "", "auto", "slirp4netns", "cni", "host", "none":
	default:
		return fmt.Errorf("configuration: network %q: it can be auto, slirp4netns, cni, host or none", n)
	}
	switch s := cfg.Snapshotter; s {
	case "", "overlayfs", "native":
	default:
		return fmt.Errorf("configuration: snapshotter %q: it can be overlayfs or native", s)
	}
	for _, a := range cfg.DNS.Nameservers {
		if ip, err := netip.ParseAddr(a); err != nil || ip.IsLoopback() {
			return fmt.Errorf("configuration: dns: nameserver %q: it should be an IP address that steps reach, and no loopback address", a)
		}
	}
	if err := cfg.GC.Check(); err != nil {
		return fmt.Errorf("configuration: gc: %w", err)
	}
	if cfg.Parallelism < 0 {
		return fmt.Errorf("configuration: parallelism %d: it cannot be negative", cfg.Parallelism)
	}
	return nil
}

type configFile struct {
	path string
	must bool // it was named: it has to exist
}

func (c *cli) configFiles() []configFile {
	if c.flags.config != "" {
		return []configFile{{c.flags.config, true}}
	}
	if v, ok := c.env("TENON_CONFIG"); ok && v != "" {
		return []configFile{{v, true}}
	}
	files := []configFile{{"/etc/tenon/tenon.toml", false}}
	dir, ok := c.env("XDG_CONFIG_HOME")
	if !ok || dir == "" {
		home, ok := c.env("HOME")
		if !ok || home == "" {
			return files
		}
		dir = filepath.Join(home, ".config")
	}
	return append(files, configFile{filepath.Join(dir, "tenon", "tenon.toml"), false})
}

// maxConfiguration is how many bytes a configuration file may have.
const maxConfiguration = 1 << 20

// read adds what a file says. A key that is not known is an error.
func (cfg *configuration) read(path string, must bool) error {
	dt, err := regular.Read(path, maxConfiguration)
	if err != nil {
		if !must && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("configuration: %w", err)
	}
	d := toml.NewDecoder(bytes.NewReader(dt))
	d.DisallowUnknownFields()
	err = d.Decode(cfg)
	var unknown *toml.StrictMissingError
	var syntax *toml.DecodeError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("configuration %s: there is no such key:\n%s", path, strings.TrimRight(unknown.String(), "\n"))
	case errors.As(err, &syntax):
		return fmt.Errorf("configuration %s:\n%s", path, strings.TrimRight(syntax.String(), "\n"))
	case err != nil:
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

func (c *cli) defaultRoot() (string, error) {
	if os.Geteuid() == 0 && !rootOfNothing() {
		return "/var/lib/tenon", nil
	}
	if dir, ok := c.env("XDG_DATA_HOME"); ok && dir != "" {
		return filepath.Join(dir, "tenon"), nil
	}
	if home, ok := c.env("HOME"); ok && home != "" {
		return filepath.Join(home, ".local", "share", "tenon"), nil
	}
	return "", errors.New("there is no place for state: HOME is not set; give --root or TENON_ROOT")
}

// rootOfNothing says whether the process is root only in a user namespace that cannot have
// a folder in /var/lib: of a user who typed "unshare -Urm".
func rootOfNothing() bool {
	if !userns.RunningInUserNS() {
		return false
	}
	err := unix.Access("/var/lib/tenon", unix.W_OK)
	if errors.Is(err, unix.ENOENT) {
		err = unix.Access("/var/lib", unix.W_OK)
	}
	return err != nil
}

func (cfg *configuration) engine() engine.Options {
	return engine.Options{
		Root:        cfg.Root,
		Snapshotter: cfg.Snapshotter,
		Parallelism: cfg.Parallelism,
		GC:          cfg.GC,
		Registries:  cfg.Registry,
		Runtime: runtime.Options{
			Binary: cfg.Runtime.Binary,
			Network: runtime.Network{
				Mode: cfg.Runtime.Network, CNIConfig: cfg.Runtime.CNI.Config, CNIBinaries: cfg.Runtime.CNI.Binaries,
			},
			DNS:  (*oci.DNSConfig)(&cfg.DNS),
			Init: cfg.Runtime.Init,
		},
	}
}
