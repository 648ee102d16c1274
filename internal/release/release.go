// Package release says which version a program of this module is.
package release

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker for a release.
var version = ""

// Line is what a program says with --version.
func Line(program string) string {
	return fmt.Sprintf("%s %s (%s, %s/%s; BuildKit's libraries %s)", program, Version(), runtime.Version(),
		runtime.GOOS, runtime.GOARCH, BuildKit())
}

// Version is the version of this module.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	if r := Revision(); r != "" {
		return r
	}
	return "(devel)"
}

// Revision is the commit that the program was built from, if that is known.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// BuildKit is the version of BuildKit's libraries.
func BuildKit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/moby/buildkit" {
			return m.Version
		}
	}
	return "unknown"
}
