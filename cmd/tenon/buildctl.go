package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/containerd/platforms"
	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine/daemon"
	"github.com/tenonbuild/tenon/internal/release"
)

// isBuildctl is whether the program was started by the name of BuildKit's client.
func isBuildctl(argv0 string) bool { return filepath.Base(argv0) == "buildctl" }

// probePatience is how long a daemon may take to say what it is.
const probePatience = 30 * time.Second

// buildctl is what runs in place of tenon under the name of BuildKit's client. Programs that
// find a daemon in a container or on another machine start it there: buildx's drivers,
// buildctl and tenon itself connect by it, and Kubernetes asks it whether the daemon serves.
func (c *cli) buildctl() *cobra.Command {
	root := &cobra.Command{
		Use:   "buildctl",
		Short: "Reach a daemon that builds: this is tenon, by the name of BuildKit's client",
		Long: `This is tenon. By the name of BuildKit's client it has what other programs start
where a daemon is: dial-stdio and debug workers. To build, use tenon --addr, or
BuildKit's own buildctl.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.Version = release.BuildKitLine("buildctl")
	root.SetVersionTemplate("{{.Version}}\n")
	pf := root.PersistentFlags()
	pf.StringVar(&c.flags.addr, "addr", c.buildkitHost(), "address of the daemon (BUILDKIT_HOST)")
	c.addTLS(pf)
	pf.BoolVar(&c.flags.debug, "debug", false, "show what the libraries log")
	root.PersistentPreRun = func(*cobra.Command, []string) { c.logging() }
	debug := &cobra.Command{
		Use: "debug", Short: "Tell of a daemon", Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	debug.AddCommand(&cobra.Command{
		Use: "workers", Short: "List what a daemon builds with", Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.workers(cmd.Context()) },
	})
	root.AddCommand(debug, c.dialStdioCommand())
	return root
}

func (c *cli) buildkitHost() string {
	if v, _ := c.env("BUILDKIT_HOST"); v != "" {
		return v
	}
	return "unix:///run/buildkit/buildkitd.sock"
}

// workers lists the workers of the daemon. It fails where none answers.
func (c *cli) workers(ctx context.Context) (err error) {
	ctx, stop := context.WithTimeoutCause(ctx, probePatience, fmt.Errorf("it does not answer within %v", probePatience))
	defer stop()
	d, err := daemon.Dial(ctx, c.flags.addr, c.flags.tls)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	all, err := d.Workers(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.out, 1, 8, 1, '\t', 0)
	fmt.Fprintln(w, "ID\tPLATFORMS")
	for _, worker := range all {
		var can []string
		for _, p := range worker.Platforms {
			can = append(can, platforms.FormatAll(p))
		}
		fmt.Fprintf(w, "%s\t%s\n", worker.ID, strings.Join(can, ","))
	}
	return w.Flush()
}
