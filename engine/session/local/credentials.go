package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
	"github.com/tenonbuild/tenon/engine/session"
)

// hubKey is the name that docker's configuration knows Docker Hub by.
const hubKey = "https://index.docker.io/v1/"

// credentialsAge is how long what a helper said is used again. Helpers of clouds
// hand out tokens that live five minutes.
const credentialsAge = 4 * time.Minute

// dockerConfig finds credentials as docker does.
type dockerConfig struct {
	dir string // "" is docker's own

	// mu guards what is below, and lets one helper run at a time: some do not
	// bear company.
	mu    sync.Mutex
	file  *configfile.ConfigFile // nil until read
	known map[string]knownCredentials
}

type knownCredentials struct {
	session.Credentials
	asked time.Time
}

func (d *dockerConfig) of(ctx context.Context, host string) (session.Credentials, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return session.Credentials{}, context.Cause(ctx)
	}
	if k, ok := d.known[host]; ok && time.Since(k.asked) < credentialsAge {
		return k.Credentials, nil
	}
	if d.file == nil {
		file, err := d.load()
		if err != nil {
			return session.Credentials{}, err
		}
		d.file, d.known = file, map[string]knownCredentials{}
	}
	key := host
	switch host {
	case "docker.io", "index.docker.io", "registry-1.docker.io":
		key = hubKey
	}
	auth, err := d.file.GetAuthConfig(key)
	if err != nil {
		return session.Credentials{}, fmt.Errorf("credentials of %s: %w; %s names the helper that was asked: mend it, or take it out there", host, err, d.file.Filename)
	}
	c := session.Credentials{Username: auth.Username, Secret: auth.Password}
	if auth.IdentityToken != "" {
		c = session.Credentials{Secret: auth.IdentityToken}
	}
	d.known[host] = knownCredentials{Credentials: c, asked: time.Now()}
	return c, nil
}

// load reads the configuration. One that is not there is empty.
func (d *dockerConfig) load() (*configfile.ConfigFile, error) {
	dir := d.dir
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
