package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine/devices"
	"github.com/tenonbuild/tenon/engine/gcpolicy"
)

// flags are what the command line says. Names are buildkitd's.
type flags struct {
	config       string
	root         string
	addr         []string
	debug, trace bool
	log          logs
	debugAddr    string
	grace        time.Duration
	group        string
	tls          tlsFiles
	entitlements []string
	noDevices    bool
	proxyNetwork bool
	devices      []string
	worker       workerFlags
}

// workerFlags are those of buildkitd's OCI worker, which is the only one here.
type workerFlags struct {
	enabled        string
	containerd     string
	labels         []string
	snapshotter    string
	network        string
	cniConfig      string
	cniBinaries    string
	cniPool        int
	binary         string
	apparmor       string
	selinux        bool
	maxParallelism int
	gc             bool
	keepStorage    string
}

// command is tenond. Seen is why others on this machine see what it mounts; nil where they do
// not.
func command(d defaults, seen error) *cobra.Command {
	f := &flags{}
	cmd := &cobra.Command{
		Use:   d.program,
		Short: "Build for BuildKit's clients",
		Long: `Tenond builds what BuildKit's clients ask for: buildctl, docker buildx, and what
stands on them. Its flags are buildkitd's, and it reads buildkitd.toml.

  tenond --addr unix:///run/tenon/tenond.sock
  buildctl --addr unix:///run/tenon/tenond.sock build ...
  docker buildx create --driver remote unix:///run/tenon/tenond.sock`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.configuration(cmd, d)
			if err != nil {
				return err
			}
			if err := cfg.Log.apply(); err != nil {
				return err
			}
			if seen != nil {
				notice(fmt.Sprintf("%v: what is mounted is seen by the whole machine", seen))
			}
			for _, text := range cfg.notices {
				notice(text)
			}
			return serve(cmd.Context(), cfg)
		},
	}
	cmd.Version = d.version
	cmd.SetVersionTemplate("{{.Version}}\n")
	f.add(cmd, d)
	return cmd
}

func (f *flags) add(cmd *cobra.Command, d defaults) {
	p := cmd.Flags()
	p.StringVar(&f.config, "config", "", "configuration file (default: "+d.config+", if there is one)")
	p.StringVar(&f.root, "root", "", "folder of all state (default: "+d.root+")")
	p.StringSliceVar(&f.addr, "addr", nil, "address to listen at: unix://PATH, tcp://HOST:PORT, fd:// or fd://NAME for sockets from systemd (default: "+d.address+")")
	p.BoolVar(&f.debug, "debug", false, "show what the libraries log")
	p.BoolVar(&f.trace, "trace", false, "show all that the libraries log")
	p.Lookup("trace").Hidden = true
	p.StringVar(&f.log.Format, "log-format", "", "how the daemon logs: text or json (default: text)")
	p.StringVar(&f.log.Level, "log-level", os.Getenv("BUILDKITD_LOG_LEVEL"), "how much of what the libraries log is shown: error, warn, info, debug or trace (default: error; BUILDKITD_LOG_LEVEL)")
	p.StringVar(&f.debugAddr, "debugaddr", os.Getenv("BUILDKITD_DEBUGADDR"), "address of the debugging pages (/debug/pprof) and of /metrics for Prometheus: HOST:PORT or unix://PATH (BUILDKITD_DEBUGADDR)")
	p.DurationVar(&f.grace, "shutdown-timeout", 0, "how long builds may go on when the daemon is to stop (default: 10s)")
	p.StringVar(&f.group, "group", "", "group, by name or number, that may use unix sockets")
	p.StringVar(&f.tls.Cert, "tlscert", "", "certificate of the daemon, for tcp")
	p.StringVar(&f.tls.Key, "tlskey", "", "key of the certificate")
	p.StringVar(&f.tls.CA, "tlscacert", "", "certificate of the authority that clients' certificates are to be from")
	p.StringSliceVar(&f.entitlements, "allow-insecure-entitlement", nil, "entitlements that builds can be granted: network.host, security.insecure, device")
	p.BoolVar(&f.proxyNetwork, "proxy-network", false, "steps of all builds reach others only by a proxy for HTTP and HTTPS")
	p.BoolVar(&f.noDevices, "cdi-disabled", false, "steps get no devices")
	p.StringSliceVar(&f.devices, "cdi-spec-dir", nil, "folders of CDI specifications of devices that steps can be given (default: "+strings.Join(devices.Directories, ", ")+")")
	w := &f.worker
	p.StringVar(&w.enabled, "oci-worker", "true", "true or auto: steps run in containers of an OCI runtime")
	p.StringVar(&w.containerd, "containerd-worker", "false", "false or auto: there is no worker of containerd's")
	p.StringSliceVar(&w.labels, "oci-worker-labels", nil, "labels of the worker: KEY=VALUE")
	p.StringVar(&w.snapshotter, "oci-worker-snapshotter", "", "auto, overlayfs or native")
	p.StringVar(&w.network, "oci-worker-net", "", "network of steps: auto, slirp4netns, cni, bridge, host or none")
	p.StringVar(&w.cniConfig, "oci-cni-config-path", "", "configuration of CNI networks")
	p.StringVar(&w.cniBinaries, "oci-cni-binary-dir", "", "folder of CNI's plugins")
	p.IntVar(&w.cniPool, "oci-cni-pool-size", 0, "how many network namespaces of CNI's are kept ready")
	p.StringVar(&w.binary, "oci-worker-binary", "", "OCI runtime: a name or a path")
	p.StringVar(&w.apparmor, "oci-worker-apparmor-profile", "", "AppArmor profile of steps")
	p.BoolVar(&w.selinux, "oci-worker-selinux", false, "label steps for SELinux")
	p.IntVar(&w.maxParallelism, "oci-max-parallelism", 0, "how many steps run at once")
	p.BoolVar(&w.gc, "oci-worker-gc", true, "remove what was not used for long")
	p.StringVar(&w.keepStorage, "oci-worker-gc-keepstorage", "", "limits of what is kept, in MB: RESERVED[,FREE[,MAXIMUM]]")
	addBuildkit(p)
}

// configuration is what the configuration file says, and the flags, which go before it.
func (f *flags) configuration(cmd *cobra.Command, d defaults) (*configuration, error) {
	cfg, err := readConfiguration(cmp.Or(f.config, d.config))
	if err != nil {
		return nil, err
	}
	if err := f.checkWorkers(); err != nil {
		return nil, err
	}
	cfg.notices = append(cfg.notices, checkBuildkit(cmd.Flags())...)
	set(&cfg.Root, f.root)
	set(&cfg.GRPC.DebugAddress, f.debugAddr)
	set(&cfg.GRPC.TLS.Cert, f.tls.Cert)
	set(&cfg.GRPC.TLS.Key, f.tls.Key)
	set(&cfg.GRPC.TLS.CA, f.tls.CA)
	if cmd.Flags().Changed("shutdown-timeout") {
		if f.grace < 0 {
			return nil, fmt.Errorf("--shutdown-timeout=%v: it should be 0 or more", f.grace)
		}
		cfg.Grace = &gcpolicy.Duration{Duration: f.grace}
	}
	if len(f.addr) > 0 {
		cfg.GRPC.Address = f.addr
	}
	set(&cfg.Log.Format, f.log.Format)
	switch {
	case f.trace:
		cfg.Log.Level = "trace"
	case f.debug:
		cfg.Log.Level = "debug"
	}
	set(&cfg.Log.Level, f.log.Level)
	if f.entitlements != nil {
		cfg.Entitlements = f.entitlements
	}
	if cmd.Flags().Changed("proxy-network") {
		cfg.ProxyNetwork = f.proxyNetwork
	}
	if cmd.Flags().Changed("cdi-disabled") {
		cfg.CDI.Disabled = f.noDevices
	}
	if f.devices != nil {
		cfg.CDI.SpecDirs = f.devices
	}
	if f.group != "" {
		gid, err := groupID(f.group)
		if err != nil {
			return nil, err
		}
		cfg.GRPC.GID = &gid
	}
	o := &cfg.Worker.OCI
	if cmd.Flags().Changed("oci-worker-gc") {
		o.GC.Enabled = &f.worker.gc
	}
	if err := f.worker.apply(o); err != nil {
		return nil, err
	}
	return cfg, cfg.settle(d)
}

// set is for a flag that goes before the configuration file, if it is given.
func set(to *string, v string) {
	if v != "" {
		*to = v
	}
}

// apply has what the flags say go before what the configuration file says.
func (w *workerFlags) apply(o *ociWorker) error {
	set(&o.Snapshotter, w.snapshotter)
	set(&o.NetworkMode, w.network)
	set(&o.CNIConfigPath, w.cniConfig)
	set(&o.CNIBinaryPath, w.cniBinaries)
	set(&o.Binary, w.binary)
	set(&o.ApparmorProfile, w.apparmor)
	o.SELinux = o.SELinux || w.selinux
	if w.cniPool > 0 {
		o.CNIPoolSize = w.cniPool
	}
	if w.maxParallelism > 0 {
		o.MaxParallelism = w.maxParallelism
	}
	if w.keepStorage != "" {
		limits, err := keepStorage(w.keepStorage)
		if err != nil {
			return err
		}
		o.Limits, o.KeepStorage = limits, gcpolicy.Space{}
	}
	for _, label := range w.labels {
		k, v, ok := strings.Cut(label, "=")
		if !ok || k == "" {
			return fmt.Errorf("--oci-worker-labels=%s: it should be KEY=VALUE", label)
		}
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels[k] = v
	}
	return nil
}

// checkWorkers refuses to do without the only worker, or with another one.
func (f *flags) checkWorkers() error {
	switch f.worker.enabled {
	case "true", "auto":
	default:
		return fmt.Errorf("--oci-worker=%s: there is no other worker: say true or auto", f.worker.enabled)
	}
	switch f.worker.containerd {
	case "false", "auto":
		return nil
	}
	return errors.New("--containerd-worker=" + f.worker.containerd + ": there is no worker of containerd's: say false or auto")
}
