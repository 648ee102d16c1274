package execop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"

	gatewayapi "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/engine/emulation"
	"github.com/tenonbuild/tenon/engine/session"
)

// ExitError says that a process did not end as it should.
type ExitError struct {
	Args []string
	Code int // 128+N if signal N ended it
	// OutOfMemory says that it went over a limit of memory.
	OutOfMemory bool
	// Hint says what is likely to be wrong, if anything is known; a sentence.
	Hint string
	// Tail is the end of the output, of both streams.
	Tail []byte
}

// Error names the command and the exit code, as BuildKit does, and the hint.
func (e *ExitError) Error() string {
	s := fmt.Sprintf("process %q did not complete successfully: exit code: %d", strings.Join(e.Args, " "), e.Code)
	if e.OutOfMemory {
		s += ": it was out of memory"
	}
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// MissingSecretError says that an op needs a secret that the caller of the build
// does not have. It wraps session.ErrNotFound.
type MissingSecretError struct {
	ID    string
	Place string // where it was to be: a path, or $NAME
}

// Error names the secret and the flag that gives it.
func (e *MissingSecretError) Error() string {
	return fmt.Sprintf("secret %q, wanted at %s, was not given: pass --secret id=%s,src=FILE or --secret id=%s,env=VARIABLE", e.ID, e.Place, e.ID, e.ID)
}

// BuildKit is the error beginning with BuildKit's words, by which programs know it.
func (e *MissingSecretError) BuildKit() string {
	return fmt.Sprintf("secret %s: not found: %v", e.ID, e)
}

// Unwrap gives session.ErrNotFound.
func (e *MissingSecretError) Unwrap() error { return session.ErrNotFound }

// MissingSSHError says that an op needs an SSH agent that the caller of the build
// does not have. It wraps session.ErrNotFound.
type MissingSSHError struct {
	ID    string
	Place string
}

// Error names the agent and the flag that gives it.
func (e *MissingSSHError) Error() string {
	return fmt.Sprintf("no SSH key %q for %s: pass --ssh %s (the agent of SSH_AUTH_SOCK) or --ssh %s=SOCKET", e.ID, e.Place, e.ID, e.ID)
}

// BuildKit is the error beginning with BuildKit's words, by which programs know it.
func (e *MissingSSHError) BuildKit() string {
	return fmt.Sprintf("no SSH key %q forwarded from the client: unset ssh forward key %s: %v", e.ID, e.ID, e)
}

// Unwrap gives session.ErrNotFound.
func (e *MissingSSHError) Unwrap() error { return session.ErrNotFound }

// runError says what an error of the executor's means.
func (o *op) runError(ctx context.Context, err error, tail []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *gatewayapi.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("running %q: %w", o.command(), err)
	}
	oom := errors.Is(exit.Err, syscall.ENOMEM)
	if exit.Err != nil && !oom {
		return fmt.Errorf("running %q: %w", o.command(), exit.Err)
	}
	said := cmp.Or(hint(int(exit.ExitCode), oom, tail, o.platform), o.refusedHint(tail))
	if more := errors.Join(besides(err)...); more != nil {
		said = strings.TrimPrefix(said+"; "+more.Error(), "; ")
	}
	return &ExitError{
		Args:        o.exec.Meta.Args,
		Code:        int(exit.ExitCode),
		OutOfMemory: oom,
		Hint:        said,
		Tail:        tail,
	}
}

// What runtimes say of a program that is not there (runc, crun).
var missingProgram = regexp.MustCompile(`exec: "([^"]+)": (?:stat|executable file not found)|executable file [` + "`'\"" + `]([^` + "`'\"" + `]+)[` + "`'\"" + `] not found`)

// What runc says last if it fails itself. Its exit code is that of a command that fails.
var notStarted = regexp.MustCompile(`(?:^|\n)runc run failed: (?:unable to start container process: )?(.*)\n?$`)

// hint guesses at the reason by the code and what was said last.
func hint(code int, oom bool, tail []byte, p *pb.Platform) string {
	said := tail[max(0, len(tail)-1024):]
	lower := strings.ToLower(string(said))
	switch {
	case strings.Contains(lower, "exec format error"):
		const other = "a program is made for another kind of machine, or is a script that does not begin with #!"
		if p != nil {
			if advice := emulation.Advice(p.Spec()); advice != "" {
				return other + ". " + advice
			}
		}
		return other
	case code == 1 || code == 127:
		if m := missingProgram.FindSubmatch(said); m != nil {
			return fmt.Sprintf("the file system has no program %s", string(m[1])+string(m[2]))
		}
		if m := notStarted.FindSubmatch(said); m != nil && code == 1 {
			return fmt.Sprintf("the container was not started: %s", m[1])
		}
	case code == 128+int(syscall.SIGKILL) && !oom:
		return "something killed it: often that is the kernel, for want of memory"
	}
	return ""
}
