package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"

	"github.com/tenonbuild/tenon/internal/dockerconfig"
)

// dockerHost is the daemon that docker speaks to where nothing else is said.
const dockerHost = "unix:///var/run/docker.sock"

// addProxies makes build arguments of the proxies in docker's configuration, as docker
// does: those of the daemon that DOCKER_HOST names, or the default ones. Steps get them,
// and they are no part of the image or of cache keys. A proxy that --build-arg names, in
// upper or lower case, also as nothing, stays what it says.
func addProxies(attrs map[string]string, env func(string) (string, bool)) error {
	dir, _ := env(config.EnvOverrideConfigDir)
	dir = cmp.Or(dir, config.Dir())
	path := filepath.Join(dir, config.ConfigFileName)
	file, err := dockerconfig.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("proxies for steps: %w; mend %s, or set DOCKER_CONFIG to another directory", err, path)
	}
	host, _ := env("DOCKER_HOST")
	for name, value := range proxiesOf(file, cmp.Or(host, dockerHost)) {
		lower := strings.ToLower(name)
		_, given := attrs["build-arg:"+name]
		_, givenLower := attrs["build-arg:"+lower]
		if value != "" && !given && !givenLower {
			attrs["build-arg:"+name], attrs["build-arg:"+lower] = value, value
		}
	}
	return nil
}

func proxiesOf(file *configfile.ConfigFile, host string) map[string]string {
	p, ok := file.Proxies[host]
	if !ok {
		p = file.Proxies["default"]
	}
	return map[string]string{
		"HTTP_PROXY": p.HTTPProxy, "HTTPS_PROXY": p.HTTPSProxy, "FTP_PROXY": p.FTPProxy, "NO_PROXY": p.NoProxy, "ALL_PROXY": p.AllProxy,
	}
}
