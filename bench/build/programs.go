package build

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// StartOurs makes the command tenon of this tree, and opens a root in dir.
func StartOurs(ctx context.Context, dir string) (*Ours, error) {
	program := filepath.Join(dir, "tenon")
	if _, err := output(ctx, "go", "build", "-o", program, "github.com/tenonbuild/tenon/cmd/tenon"); err != nil {
		return nil, err
	}
	return NewOurs(ctx, filepath.Join(dir, "ours"), program)
}

// StartPeer makes BuildKit's programs, of the version that the module's tool
// directives say, and starts the daemon in dir.
func StartPeer(ctx context.Context, dir string) (*Daemon, error) {
	buildkitd, err := MakePeer(ctx)
	if err != nil {
		return nil, err
	}
	return startDaemon(ctx, "peer", dir, buildkitd)
}

// MakePeer makes BuildKit's daemon, and returns its path.
func MakePeer(ctx context.Context) (string, error) {
	fmt.Fprintln(os.Stderr, "# building the peer, which takes minutes the first time") // Go keeps it
	return output(ctx, "go", "tool", "-n", "buildkitd")
}

// StartTenond makes tenond of this tree, and starts it in dir.
func StartTenond(ctx context.Context, dir string) (*Daemon, error) {
	program, err := MakeTenond(ctx, dir)
	if err != nil {
		return nil, err
	}
	return startDaemon(ctx, "tenond", dir, program)
}

// MakeTenond makes tenond of this tree in dir, and returns its path.
func MakeTenond(ctx context.Context, dir string) (string, error) {
	program := filepath.Join(dir, "tenond-program")
	_, err := output(ctx, "go", "build", "-o", program, "github.com/tenonbuild/tenon/cmd/tenond")
	return program, err
}

func startDaemon(ctx context.Context, name, dir, program string) (*Daemon, error) {
	buildctl, err := output(ctx, "go", "tool", "-n", "buildctl")
	if err != nil {
		return nil, err
	}
	return NewDaemon(ctx, name, filepath.Join(dir, name), program, buildctl)
}

// Shell makes a directory with a static busybox in dir.
func Shell(ctx context.Context, dir string) (string, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return "", fmt.Errorf("steps use a static busybox (Debian: busybox-static): %w", err)
	}
	to := filepath.Join(dir, "busybox")
	if err := os.Mkdir(to, 0o755); err != nil {
		return "", err
	}
	_, err = output(ctx, "cp", path, filepath.Join(to, "busybox"))
	return to, err
}

func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", cmd, err)
	}
	return strings.TrimSpace(string(out)), nil
}
