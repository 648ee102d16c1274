package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
)

// platformAttr is what the frontend is asked to build for, each platform once; "" if
// nothing is asked for. As with docker, "local" is this machine's, and
// DOCKER_DEFAULT_PLATFORM stands for the flag that is not given.
func platformAttr(flags []string, env func(string) (string, bool)) (string, error) {
	from := "--platform"
	if v, _ := env("DOCKER_DEFAULT_PLATFORM"); len(flags) == 0 && v != "" {
		flags, from = strings.Split(v, ","), "DOCKER_DEFAULT_PLATFORM"
	}
	var names []string
	for _, name := range flags {
		p := platforms.DefaultSpec()
		if name = strings.TrimSpace(name); name != "local" {
			var err error
			if p, err = platforms.Parse(name); err != nil {
				return "", fmt.Errorf("%s %q: say OS/ARCHITECTURE, as in linux/arm64, or local: %w", from, name, err)
			}
		}
		if name = platforms.FormatAll(platforms.Normalize(p)); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, ","), nil
}
