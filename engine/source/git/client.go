package git

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/moby/buildkit/util/gitutil"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
	solverclient "github.com/tenonbuild/tenon/solver/client"
)

// client runs git for one operation.
type client struct {
	source   *Source
	spec     spec
	progress *solver.Progress
	// web is how repositories are reached by http and https: see admit.
	web []admitted
	// thorough follows redirects also where nothing is to be sent at first.
	thorough bool
	// secrets are taken out of what git says.
	secrets []string
	ssh     string // the command
	agent   *agentSocket
	tmp     string // a folder of ours, or ""
}

// client makes a client with what the session lends. It is to be closed.
func (s *Source) client(ctx context.Context, sp spec) (*client, error) {
	c := &client{source: s, spec: sp, progress: solver.ProgressFrom(ctx)}
	if err := c.admit(ctx, sp.remote); err != nil {
		return nil, err
	}
	if err := c.secureShell(ctx); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// close ends what the client began. What it leaves in a temporary folder, if that
// cannot be removed, is removed by New.
func (c *client) close() {
	if c.agent != nil {
		c.agent.close()
	}
	if c.tmp != "" {
		_ = os.RemoveAll(c.tmp)
	}
}

// secureShell prepares for ssh. No key is used but those of the agent that is lent,
// and nobody is asked anything.
func (c *client) secureShell(ctx context.Context) (err error) {
	known := " -o StrictHostKeyChecking=no -o UserKnownHostsFile=" + os.DevNull
	if c.spec.knownHosts != "" {
		dir, err := c.temp()
		if err != nil {
			return err
		}
		file := filepath.Join(dir, "known_hosts")
		if err := os.WriteFile(file, []byte(c.spec.knownHosts), 0o600); err != nil {
			return fmt.Errorf("git source: %w", err)
		}
		// Quoted for ssh, which splits at spaces, and for the shell that starts it.
		known = " -o StrictHostKeyChecking=yes -o '" + strings.ReplaceAll(`UserKnownHostsFile="`+file+`"`, "'", `'\''`) + "'"
	}
	c.ssh = "ssh -F " + os.DevNull + " -o BatchMode=yes -o IdentityFile=none -o LogLevel=ERROR" +
		" -o ConnectTimeout=30 -o ServerAliveInterval=15 -o ServerAliveCountMax=4" + known
	if c.spec.agent == "" || c.spec.scheme != gitutil.SSHProtocol {
		return nil
	}
	c.agent, err = c.lendAgent(ctx, c.spec.agent)
	return err
}

// temp returns a folder that is removed with the client.
func (c *client) temp() (_ string, err error) {
	if c.tmp == "" {
		if c.tmp, err = os.MkdirTemp(c.source.dir, "tmp-"); err != nil {
			return "", fmt.Errorf("git source: %w", err)
		}
	}
	return c.tmp, nil
}

// settings are what git is always configured with.
var settings = [][2]string{
	{"init.defaultBranch", "master"},
	{"core.hooksPath", os.DevNull},
	{"core.fsmonitor", "false"},
	{"core.autocrlf", "false"},
	{"gc.auto", "0"},
	{"maintenance.auto", "false"},
	{"fetch.recurseSubmodules", "false"},
	// What is fetched becomes a pack, which is there whole or not at all. Single
	// objects would stay when a fetch breaks off: a commit without its files.
	{"fetch.unpackLimit", "1"},
	{"submodule.recurse", "false"},
	{"advice.detachedHead", "false"},
	{"safe.directory", "*"},
	// A server that sends nothing for a minute is given up.
	{"http.lowSpeedLimit", "1"},
	{"http.lowSpeedTime", "60"},
}

// remoteProtocols are what repositories and their submodules may be fetched over:
// not files of this machine, and not commands (ext).
const remoteProtocols = "http:https:ssh:git"

// environ adds to the environment that gitutil makes, which has no configuration.
func (c *client) environ(protocols string) []string {
	env := []string{
		"GIT_SSH_COMMAND=" + c.ssh,
		"GIT_ALLOW_PROTOCOL=" + protocols,
		"GIT_OPTIONAL_LOCKS=0",
		// A root may be in somebody's working copy, which is no business of ours.
		"GIT_CEILING_DIRECTORIES=" + filepath.Dir(c.source.dir),
	}
	if c.agent != nil {
		env = append(env, "SSH_AUTH_SOCK="+c.agent.path)
	}
	for _, name := range []string{"GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	all := append(append([][2]string{}, settings...), c.webConfig()...)
	if c.spec.advice {
		all = append(all, [2]string{"advice.detachedHead", "true"})
	}
	env = append(env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(all)))
	for i, kv := range all {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, kv[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, kv[1]))
	}
	return env
}

// run runs git on a repository ("" for none) and a working tree ("" for none).
func (c *client) run(ctx context.Context, protocols, dir, tree string, args ...string) ([]byte, error) {
	var said bytes.Buffer
	cli := gitutil.NewGitCLI(gitutil.WithGitDir(dir), gitutil.WithWorkTree(tree), gitutil.WithGitAdvice(c.spec.advice),
		// Some of git's own scripts want to be in the tree.
		gitutil.WithDir(cmp.Or(tree, c.source.dir)),
		gitutil.WithExec(func(ctx context.Context, cmd *exec.Cmd) error {
			if cmd.Err != nil {
				return cmd.Err
			}
			said.Reset()
			limits, err := c.limits()
			if err != nil {
				return err
			}
			return shell(ctx, limits, cmd, append(cmd.Env, c.environ(protocols)...), &said)
		}))
	out, err := cli.Run(ctx, args...)
	switch {
	case err == nil:
		if c.spec.advice && said.Len() > 0 {
			c.progress.Log(2, []byte(c.scrub(said.String())))
		}
		return out, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("the git command is needed for this, and is not there: install git (apt-get install git)")
	}
	return nil, &commandError{command: args[0], said: c.scrub(said.String()), err: errors.Unwrap(err)}
}

// limits are commands of a shell that bound what git and its helpers write to a file and
// have in memory: how much that is, is the server's choice. Who has less already keeps it.
func (c *client) limits() (string, error) {
	room, err := store.Room(c.source.dir)
	if err != nil {
		return "", fmt.Errorf("git source: %w", err)
	}
	// In blocks of 512 bytes, and in KiB. What is too large is then an error of the write.
	return fmt.Sprintf("trap '' XFSZ; ulimit -f %d; ulimit -d %d", max(room, 0)/512, c.source.opt.Memory>>10), nil
}

// shell runs a command after some of a shell, and with a umask, so that modes do not
// depend on ours. It ends with the helpers that git starts when ctx ends.
func shell(ctx context.Context, before string, cmd *exec.Cmd, env []string, said *bytes.Buffer) error {
	args := append([]string{"-c", "{ " + before + `; } 2>/dev/null; umask 022 && exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
	sh := exec.CommandContext(ctx, "/bin/sh", args...)
	sh.Dir, sh.Env, sh.Stderr = cmd.Dir, env, &both{cmd.Stderr.(*bytes.Buffer), said}
	out := &bounded{cmd.Stdout, maxOutput}
	if cmd.Stdout != nil {
		sh.Stdout = out
	}
	sh.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	sh.Cancel = func() error { return syscall.Kill(-sh.Process.Pid, syscall.SIGTERM) }
	sh.WaitDelay = 10 * time.Second
	// Pdeathsig means the death of the thread that starts the command.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := sh.Run()
	if out.left < 0 { // which is why it failed
		return errOutput
	}
	return err
}

// What a git command says is kept in memory, and much of it are the server's words: of
// errors the beginning is kept; more output than a million references have is an error.
const (
	maxErrors = 1 << 20
	maxOutput = 256 << 20
)

// both writes to two buffers, up to maxErrors.
type both [2]*bytes.Buffer

func (b *both) Write(p []byte) (int, error) {
	for _, buf := range b {
		buf.Write(p[:min(len(p), max(0, maxErrors-buf.Len()))]) // a Buffer does not fail
	}
	return len(p), nil
}

var errOutput = fmt.Errorf("git prints more than %d MiB", maxOutput>>20)

// bounded is an error for what writes more than is left.
type bounded struct {
	io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errOutput
	}
	return b.Writer.Write(p)
}

// scrub takes secrets out of a text.
func (c *client) scrub(text string) string {
	for _, s := range c.secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "xxxxx")
		}
	}
	return text
}

// step shows a part of the work until done is called.
func (c *client) step(what string) (done func()) {
	started := time.Now()
	c.progress.Status(solverclient.VertexStatus{ID: what, Started: &started})
	return func() {
		now := time.Now()
		c.progress.Status(solverclient.VertexStatus{ID: what, Started: &started, Completed: &now})
	}
}
