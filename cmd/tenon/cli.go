package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/containerd/log"
	"github.com/moby/buildkit/util/suggest"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/daemon"
	"github.com/tenonbuild/tenon/engine/filetrees"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/release"
)

// cli is what a command works with. Its streams and environment are replaced in
// tests.
type cli struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) (string, bool)
	flags    globalFlags
	// args is the command line.
	args []string
	// umask is the caller's, and no longer the process's.
	umask int
	// seen is why others on this machine see what is mounted; nil where they do not.
	seen error
	// asBuildctl is whether the program was started by the name of BuildKit's client.
	asBuildctl bool
}

// globalFlags are those of every command.
type globalFlags struct {
	config string
	root   string
	addr   string
	tls    daemon.TLS
	noWait bool
	debug  bool
}

// exitError ends the process with a code; what there was to say has been said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// main runs a command line and returns the process's exit code.
func (c *cli) main(ctx context.Context, args []string) int {
	out := &spoken{Writer: c.out}
	c.out = out
	c.args = args
	root := c.command()
	root.SetArgs(args)
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	err := root.ExecuteContext(ctx)
	if out.err != nil { // whatever failed then, failed for that
		err = out.err
	}
	var code exitError
	why, interrupted := context.Cause(ctx).(*interruption)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case interrupted:
		if !errors.Is(err, context.Canceled) {
			printError(c.err, err)
		}
		fmt.Fprintln(c.err, "tenon: interrupted")
		return why.code()
	}
	printError(c.err, err)
	return 1
}

func (c *cli) command() *cobra.Command {
	if c.asBuildctl {
		return c.buildctl()
	}
	root := &cobra.Command{
		Use:   "tenon",
		Short: "Build images and other results from Dockerfiles, without a daemon",
		Long: `Tenon builds what a Dockerfile or an LLB definition describes: an image, an
archive or a directory. What it has built before it does not build again.

  tenon build -t hello .                     an image, in Tenon's own store
  tenon build -o out .                       the files of the result, in ./out
  tenon build -o type=oci,dest=hello.tar .   an OCI archive
  tenon build --push -t host/hello .         an image, in a registry

State is kept in one folder: /var/lib/tenon for root, otherwise
$XDG_DATA_HOME/tenon (~/.local/share/tenon). One process uses it at a time; where that
is tenond, commands work through it.

What flags repeat can be said once, in a configuration file or the environment:
  TENON_CONFIG        the configuration file
  TENON_ROOT          the folder of all state
  TENON_HOST          the address of a daemon to build with, as --addr
  TENON_RUNTIME       the OCI runtime: runc, crun or a path
  TENON_SNAPSHOTTER   overlayfs or native
  TENON_NETWORK       the network of RUN steps: auto, slirp4netns, cni, none or host
  BUILDKIT_PROGRESS   as --progress
  DOCKER_CONFIG       the folder of docker's config.json, with logins to registries
  REGISTRY_AUTH_FILE  podman's file with logins, which is looked at after docker's
  BUILDKIT_STEP_LOG_MAX_SIZE, BUILDKIT_STEP_LOG_MAX_SPEED
                      bytes, and bytes a second, of a step's output that are
                      shown (16 MiB, and as fast as it comes; -1 is no limit)
  SOURCE_DATE_EPOCH   the time that images are from`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.Version = release.Line("tenon")
	root.SetVersionTemplate("{{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = false
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var all refusedError
		if errors.As(err, &all) {
			return all
		}
		if missing := new(pflag.NotExistError); errors.As(err, &missing) {
			var names []string
			cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
			if like, ok := suggest.Search(missing.GetSpecifiedName(), names, true); ok {
				err = fmt.Errorf("%w (did you mean --%s?)", err, like)
			}
		}
		return fmt.Errorf("%w\nSee \"%s --help\"", err, cmd.CommandPath())
	})
	if width := terminalWidth(c.out); width > 0 {
		for _, flags := range []string{"LocalFlags", "InheritedFlags"} {
			root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), flags+".FlagUsages ", fmt.Sprintf("%s.FlagUsagesWrapped %d ", flags, width)))
		}
	}
	pf := root.PersistentFlags()
	pf.StringVar(&c.flags.config, "config", "", "configuration file (default: /etc/tenon/tenon.toml, then $XDG_CONFIG_HOME/tenon/tenon.toml; TENON_CONFIG)")
	pf.StringVar(&c.flags.root, "root", "", "folder of all state (TENON_ROOT)")
	pf.StringVar(&c.flags.addr, "addr", "", "daemon to build with, tenond or buildkitd: unix://PATH, tcp://HOST:PORT, ssh://USER@HOST, docker-container://NAME (TENON_HOST)")
	c.addTLS(pf)
	pf.BoolVar(&c.flags.noWait, "no-wait", false, "fail at once if another process uses the root, instead of waiting for it")
	pf.BoolVarP(&c.flags.debug, "debug", "D", false, "show what the libraries log")
	root.PersistentPreRun = func(*cobra.Command, []string) {
		c.logging()
		if c.seen != nil {
			logrus.Debugf("%v: what is mounted is seen by the whole machine", c.seen)
		}
	}
	root.AddCommand(c.buildCommand(), c.planCommand(), c.llbCommand(), c.whyCommand(), c.historyCommand(), c.graphCommand(), c.traceCommand(), c.imagesCommand(), c.duCommand(), c.pruneCommand(), c.versionCommand(), c.dialStdioCommand())
	return root
}

// addTLS adds the flags of certificates for a daemon at tcp://.
func (c *cli) addTLS(p *pflag.FlagSet) {
	p.StringVar(&c.flags.tls.CA, "tlscacert", "", "certificate of the authority that the daemon's certificate is from")
	p.StringVar(&c.flags.tls.Cert, "tlscert", "", "certificate to show the daemon")
	p.StringVar(&c.flags.tls.Key, "tlskey", "", "key of that certificate")
	p.StringVar(&c.flags.tls.ServerName, "tlsservername", "", "name that the daemon's certificate is for (default: the address's)")
}

// knownCommand is for commands that only have others below them: what is left as an
// argument is none of these.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	meant := ""
	cmd.SuggestionsMinimumDistance = 2
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		meant = fmt.Sprintf(" (did you mean %s?)", strings.Join(like, " or "))
	}
	return fmt.Errorf("unknown command %q for %q%s\nSee \"%s --help\"", args[0], cmd.CommandPath(), meant, cmd.CommandPath())
}

// many is no limit on arguments.
const many = math.MaxInt

// arguments checks how many arguments a command has; what says what they should be.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if n := len(args); n < least || n > most {
			return fmt.Errorf("%s takes %s, and has %d: %s", cmd.CommandPath(), what, n, cmd.UseLine())
		}
		return nil
	}
}

// isolate sees to it that nobody else on the machine sees what a command line mounts. Where
// that is not allowed, mounts are below the root, where nobody but its owner gets to. It may
// start the program again, so it comes before a signal is caught, or a file opened.
func isolate(args []string, enter func() error) error {
	cmd, _, err := (&cli{env: os.LookupEnv}).command().Find(args)
	if err != nil || os.Geteuid() != 0 {
		return nil //nolint:nilerr // main says what is wrong with the command line
	}
	if !cmd.HasParent() {
		return nil // help
	}
	for ; cmd.HasParent(); cmd = cmd.Parent() {
		switch cmd.Name() {
		case "help", "version", "completion", "dial-stdio", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
			return nil // mounts nothing
		}
	}
	return enter()
}

// logging settles what the libraries that log to logrus show.
func (c *cli) logging() {
	log.L = logrus.NewEntry(logrus.StandardLogger())
	logrus.SetOutput(c.err)
	logrus.SetLevel(logrus.ErrorLevel)
	if c.flags.debug {
		logrus.SetLevel(logrus.DebugLevel)
	}
}

// open opens the engine as configured. The caller closes it.
func (c *cli) open(ctx context.Context) (*engine.Engine, error) {
	cfg, err := c.configure()
	if err != nil {
		return nil, err
	}
	opt := cfg.engine()
	if opt.Log, err = c.stepLog(); err != nil {
		return nil, err
	}
	opt.NoWait = c.flags.noWait
	opt.Trees = func(root string) *filetrees.Store { return history.Trees(engine.History(root)) }
	opt.Waiting = func(owner string) { c.waiting(owner, opt.Root) }
	opt.Collected = func(_ store.UsageInfo, err error) {
		if err != nil {
			fmt.Fprintf(c.err, "tenon: what is kept is more than [gc] allows, and could not be removed: %v\n", err)
		}
	}
	opt.Notice = c.notice
	return engine.Open(ctx, opt)
}
