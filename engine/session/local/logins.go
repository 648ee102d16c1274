package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
)

// authFileEnv names podman's file with credentials.
const authFileEnv = "REGISTRY_AUTH_FILE"

// maxLogins is how many bytes of a file with credentials are read.
const maxLogins = 16 << 20

// readLogins reads the files that credentials may be in, in the order in which they are
// looked at. Those that are not there are left out. In a directory that is named there is
// but one.
func readLogins(dockerDir string) ([]*configfile.ConfigFile, error) {
	docker, err := readDocker(dockerDir)
	if err != nil {
		return nil, err
	}
	if dockerDir != "" {
		return []*configfile.ConfigFile{docker}, nil
	}
	files := []*configfile.ConfigFile{docker}
	if text := os.Getenv(configfile.DockerEnvConfigKey); text != "" {
		env := configfile.New(configfile.DockerEnvConfigKey)
		if err := env.LoadFromReader(strings.NewReader(text)); err != nil {
			return nil, fmt.Errorf("registry credentials: %s cannot be read: %w", configfile.DockerEnvConfigKey, err)
		}
		files = []*configfile.ConfigFile{env, docker}
	}
	for _, path := range podmanFiles() {
		file, err := readPodman(path)
		if errors.Is(err, fs.ErrNotExist) && path != os.Getenv(authFileEnv) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("registry credentials: %w; mend or remove %s, or set %s to another file", err, path, authFileEnv)
		}
		files = append(files, file)
	}
	return files, nil
}

// readDocker reads docker's configuration. One that is not there is empty.
func readDocker(dir string) (*configfile.ConfigFile, error) {
	if dir == "" {
		dir = os.Getenv(config.EnvOverrideConfigDir)
	}
	if dir == "" {
		dir = config.Dir()
	}
	file, err := config.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("registry credentials: %w; mend %s, or set DOCKER_CONFIG to another directory", err, filepath.Join(dir, config.ConfigFileName))
	}
	if !file.ContainsAuth() {
		file.CredentialsStore = credentials.DetectDefaultStore(file.CredentialsStore)
	}
	return file, nil
}

// podmanFiles is where podman, buildah and skopeo have credentials, as in
// containers-auth.json(5): where they write them, and where they look besides.
func podmanFiles() []string {
	var paths []string
	switch runtime := os.Getenv("XDG_RUNTIME_DIR"); {
	case os.Getenv(authFileEnv) != "":
		paths = append(paths, os.Getenv(authFileEnv))
	case runtime != "":
		paths = append(paths, filepath.Join(runtime, "containers", "auth.json"))
	default:
		paths = append(paths, filepath.Join("/run/containers", strconv.Itoa(os.Getuid()), "auth.json"))
	}
	if dir, err := os.UserConfigDir(); err == nil {
		paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
	}
	return paths
}

// readPodman reads an auth.json, which is written as docker's configuration is.
func readPodman(path string) (_ *configfile.ConfigFile, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dt, err := io.ReadAll(io.LimitReader(f, maxLogins+1))
	if err != nil {
		return nil, err
	}
	if len(dt) > maxLogins {
		return nil, fmt.Errorf("%s is larger than %d MiB", path, maxLogins>>20)
	}
	file := configfile.New(path)
	if len(bytes.TrimSpace(dt)) == 0 {
		return file, nil
	}
	if err := file.LoadFromReader(bytes.NewReader(dt)); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	return file, nil
}
