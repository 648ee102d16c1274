package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNoRuntime is wrapped by the error that says why no container can run here.
var ErrNoRuntime = errors.New("no OCI runtime that works here")

// NoRuntimeError says which OCI runtimes were looked for, and what is wrong with
// each. It wraps ErrNoRuntime.
type NoRuntimeError struct {
	Tried []Failure
}

// Failure is what is wrong with one OCI runtime.
type Failure struct {
	Binary string
	Err    error // wraps exec.ErrNotFound if it is not there
}

// Error names every runtime that was tried, and says how to get one.
func (e *NoRuntimeError) Error() string {
	var b strings.Builder
	b.WriteString("running a command needs an OCI runtime, and there is none that works here:")
	for _, f := range e.Tried {
		fmt.Fprintf(&b, "\n  %s: %v", f.Binary, f.Err)
	}
	b.WriteString("\n")
	b.WriteString(e.wayOut())
	return b.String()
}

func (e *NoRuntimeError) wayOut() string {
	for _, f := range e.Tried {
		if !errors.Is(f.Err, exec.ErrNotFound) {
			if strings.Contains(f.Err.Error(), "cgroup") {
				return "It could not make a cgroup: /sys/fs/cgroup must be mounted and writable. In a container, that takes one that is privileged."
			}
			if os.Geteuid() != 0 {
				return "It was not run as root: that may be what it lacks."
			}
			return "If it is old, install a newer one; Debian has one that works: apt-get install runc."
		}
	}
	return "Install one as root: apt-get install runc, dnf install runc, or apk add runc."
}

// Unwrap gives ErrNoRuntime and the single failures.
func (e *NoRuntimeError) Unwrap() []error {
	errs := []error{ErrNoRuntime}
	for _, f := range e.Tried {
		errs = append(errs, f.Err)
	}
	return errs
}

// find makes an executor of the first candidate that works.
func find(ctx context.Context, opt Options, st *state) (*Executor, error) {
	names := []string{"buildkit-runc", "runc", "crun"}
	if opt.Binary != "" {
		names = []string{opt.Binary}
	}
	no := &NoRuntimeError{}
	swept := false
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		if err != nil {
			no.Tried = append(no.Tried, Failure{Binary: name, Err: notFound(err)})
			continue
		}
		e, err := newExecutor(opt, st, path)
		if err != nil {
			return nil, err // of the options, not of the runtime
		}
		if !swept {
			if err := e.sweep(ctx, opt.Root); err != nil {
				return nil, errors.Join(err, e.networks.close())
			}
			swept = true
		}
		if e.version, err = e.tried(ctx, opt); err == nil {
			return e, nil
		}
		if closed := e.networks.close(); ctx.Err() != nil || closed != nil {
			return nil, errors.Join(context.Cause(ctx), closed)
		}
		no.Tried = append(no.Tried, Failure{Binary: path, Err: err})
	}
	return nil, no
}

// notFound drops the name, which is said anyway.
func notFound(err error) error {
	var e *exec.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
