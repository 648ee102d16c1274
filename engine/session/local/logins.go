package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"

	"github.com/tenonbuild/tenon/internal/dockerconfig"
)

// authFileEnv names podman's file with credentials.
const authFileEnv = "REGISTRY_AUTH_FILE"

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
		file, err := dockerconfig.Read(path)
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
	path := filepath.Join(dir, config.ConfigFileName)
	file, err := dockerconfig.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = configfile.New(path), nil
	}
	if err != nil {
		return nil, fmt.Errorf("registry credentials: %w; mend %s, or set DOCKER_CONFIG to another directory", err, path)
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
