// Package release says which version a program of this module is.
package release

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Package is the module.
const Package = "github.com/tenonbuild/tenon"

// version is set by the linker for a release.
var version = ""

// Line is what a program says with --version.
func Line(program string) string {
	return fmt.Sprintf("%s %s (%s, %s/%s; BuildKit's libraries %s)", program, Version(), runtime.Version(),
		runtime.GOOS, runtime.GOARCH, BuildKit())
}

// BuildKitLine is what a program says with --version that was started by the name of one of
// BuildKit's: its clients read the third word.
func BuildKitLine(program string) string {
	return fmt.Sprintf("%s %s %s %s", program, Package, BuildKit(), cmp.Or(Revision(), Version()))
}

// build is what the program knows of how it was built; empty where it knows nothing.
func build() *debug.BuildInfo {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info
	}
	return &debug.BuildInfo{}
}

// Version is the version of this module, or else the commit.
func Version() string {
	if version != "" {
		return version
	}
	if v := build().Main.Version; v != "" && v != "(devel)" {
		return v
	}
	return cmp.Or(Revision(), "(devel)")
}

// Revision is the commit that the program was built from, if that is known.
func Revision() string {
	for _, s := range build().Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// BuildKit is the version of BuildKit's libraries.
func BuildKit() string {
	for _, m := range build().Deps {
		if m.Path == "github.com/moby/buildkit" {
			return m.Version
		}
	}
	return "unknown"
}
