package emulation_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/emulation"
)

func TestCheck(t *testing.T) {
	here := platforms.DefaultSpec()
	for name, runs := range map[string]bool{
		platforms.Format(here):                      true,
		platforms.Format(platforms.Normalize(here)): true,
		runtime.GOOS + "/" + runtime.GOARCH:         true,
		"linux/none":                                false,
		"windows/" + runtime.GOARCH:                 false,
		"plan9/386":                                 false,
		"linux/amd64/v9":                            false,
	} {
		err := emulation.Check(platforms.MustParse(name))
		if (err == nil) != runs {
			t.Errorf("%s: %v", name, err)
		}
		e, ok := errors.AsType[*emulation.Error](err)
		if !runs && (!ok || len(e.Runs) == 0 || !strings.Contains(err.Error(), name+": it runs those for linux/"+runtime.GOARCH)) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "emulator") {
			t.Errorf("%s: there is no emulator for that: %v", name, err)
		}
	}
	// What runs here may be emulated on the machine of the test.
	err := &emulation.Error{Platform: foreign(), Runs: []ocispec.Platform{here}}
	for _, word := range []string{"tonistiigi/binfmt --install " + foreign().Architecture, "qemu-user-static", "$BUILDPLATFORM"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
}

func foreign() ocispec.Platform {
	if runtime.GOARCH == "s390x" {
		return platforms.MustParse("linux/riscv64")
	}
	return platforms.MustParse("linux/s390x")
}
