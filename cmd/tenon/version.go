package main

import (
	"fmt"
	goruntime "runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker for a release.
var version = ""

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Args:  arguments(0, 0, "no argument"),
		Run: func(*cobra.Command, []string) {
			fmt.Fprintln(c.text(), versionLine())
		},
	}
}

// versionLine is what "tenon version" and "tenon --version" say.
func versionLine() string {
	return fmt.Sprintf("tenon %s (%s, %s/%s; BuildKit's libraries %s)", versionOf(), goruntime.Version(),
		goruntime.GOOS, goruntime.GOARCH, moduleVersion("github.com/moby/buildkit"))
}

func versionOf() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
			v = s.Value
		}
	}
	if v == "" {
		v = "(devel)"
	}
	return v
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}
