// Package emulation says of which platforms this machine runs programs, by itself or
// by an emulator that is registered with the kernel (binfmt_misc), how to get one, and of
// which architecture a program is.
package emulation

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/util/archutil"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Error says that this machine does not run the programs of a platform.
type Error struct {
	Platform ocispec.Platform
	Runs     []ocispec.Platform // what it runs
}

// Error names the platform, what the machine runs, and the way out.
func (e *Error) Error() string {
	var runs []string
	for _, p := range e.Runs {
		runs = append(runs, platforms.Format(p))
	}
	s := fmt.Sprintf("this machine does not run programs for %s: it runs those for %s", platforms.Format(e.Platform), strings.Join(runs, ", "))
	if advice := Advice(e.Platform); advice != "" {
		s += ". " + advice
	}
	return s
}

// emulated are the architectures that there are emulators of.
var emulated = []string{"386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x"}

// Advice says how to run programs for a platform here; "" if there is no way.
func Advice(p ocispec.Platform) string {
	if p.OS != "linux" || !slices.Contains(emulated, p.Architecture) || p.Architecture == runtime.GOARCH {
		return ""
	}
	return fmt.Sprintf("Register an emulator: docker run --privileged --rm tonistiigi/binfmt --install %s, or apt-get install qemu-user-static binfmt-support. A stage that only makes files for another platform, as by cross-compiling, needs none: FROM --platform=$BUILDPLATFORM", p.Architecture)
}

// Check returns an *Error for a platform whose programs are known not to run here. It
// runs a small program of each architecture, unless that has just been done.
func Check(p ocispec.Platform) error {
	p = platforms.Normalize(p)
	if p.OS == runtime.GOOS && p.Architecture == runtime.GOARCH && p.Variant == "" {
		return nil
	}
	runs := archutil.SupportedPlatforms(true)
	if slices.ContainsFunc(runs, func(r ocispec.Platform) bool { return serves(r, p) }) {
		return nil
	}
	if p.OS == runtime.GOOS && p.Architecture != runtime.GOARCH && (!canTry() || inImages()) {
		return nil // the step itself finds out
	}
	return &Error{Platform: p, Runs: runs}
}

// serves is whether what runs programs for r runs those for p. What is found out of
// variants is only those of amd64.
func serves(r, p ocispec.Platform) bool {
	return r.OS == p.OS && r.Architecture == p.Architecture && (r.Variant == p.Variant || p.Architecture != "amd64")
}

// canTry is whether the small programs can be run: they are, with chroot, in the folder
// of temporary files.
func canTry() bool {
	var fs unix.Statfs_t
	err := unix.Statfs(os.TempDir(), &fs)
	return err == nil && fs.Flags&unix.ST_NOEXEC == 0 && os.Geteuid() == 0
}

// inImages is whether an emulator is registered that the kernel looks for in the file
// system of the process (without flag F): an image may have it.
func inImages() bool {
	entries, _ := filepath.Glob("/proc/sys/fs/binfmt_misc/*")
	return slices.ContainsFunc(entries, func(name string) bool {
		dt, err := os.ReadFile(name)
		said := string(dt)
		_, flags, ok := strings.Cut(said, "\nflags: ")
		flags, _, _ = strings.Cut(flags, "\n")
		return err == nil && ok && strings.HasPrefix(said, "enabled\n") && strings.Contains(said, "\nmagic 7f454c46") && !strings.Contains(flags, "F")
	})
}
