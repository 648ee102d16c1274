package local

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
	"github.com/docker/cli/cli/config/types"
	"github.com/tenonbuild/tenon/engine/session"
)

// hubKey is the name that docker's configuration knows Docker Hub by, and hubNames are
// the others that it goes by.
const hubKey = "https://index.docker.io/v1/"

var hubNames = []string{"docker.io", "index.docker.io", "registry-1.docker.io"}

// credentialsAge is how long what a helper said is used again. Helpers of clouds
// hand out tokens that live five minutes.
const credentialsAge = 4 * time.Minute

// logins finds credentials as docker does, and then as podman does.
type logins struct {
	dockerDir string // of the only file that is looked at; "" is docker's own, and then podman's

	// turn is held by who looks something up, and guards what is below: it lets one
	// helper run at a time, since some do not bear company.
	turn  chan struct{}
	files []*configfile.ConfigFile // nil until read
	known map[string]knownCredentials
}

// knownCredentials are those of a host.
type knownCredentials struct {
	session.Credentials
	asked time.Time
}

func newLogins(dockerDir string) *logins {
	return &logins{dockerDir: dockerDir, turn: make(chan struct{}, 1)}
}

// of returns what the first file says that knows the host or the repository. It returns
// when ctx ends, also while a helper does not answer.
func (l *logins) of(ctx context.Context, host, repository string) (session.Credentials, error) {
	if ctx.Err() != nil {
		return session.Credentials{}, context.Cause(ctx)
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return session.Credentials{}, fmt.Errorf("credentials of %s: waiting for another look-up: %w", host, context.Cause(ctx))
	}
	type answer struct {
		session.Credentials
		err error
	}
	said := make(chan answer, 1)
	go func() { // helpers are run by a library that cannot stop them
		defer func() { <-l.turn }()
		var a answer
		defer func() {
			if r := recover(); r != nil {
				a.err = fmt.Errorf("credentials of %s: the look-up panicked: %v", host, r)
			}
			said <- a
		}()
		a.Credentials, a.err = l.find(host, repository)
	}()
	select {
	case a := <-said:
		return a.Credentials, a.err
	case <-ctx.Done():
		return session.Credentials{}, fmt.Errorf("credentials of %s: %w", host, context.Cause(ctx))
	}
}

// find is of without a context, for who has the turn.
func (l *logins) find(host, repository string) (session.Credentials, error) {
	if l.files == nil {
		files, err := readLogins(l.dockerDir)
		if err != nil {
			return session.Credentials{}, err
		}
		l.files, l.known = files, map[string]knownCredentials{}
	}
	for _, file := range l.files {
		if c := ofRepository(file, host, repository); c != (session.Credentials{}) {
			return c, nil
		}
		c, err := l.ofHost(file, host)
		if err != nil || c != (session.Credentials{}) {
			return c, err
		}
	}
	return session.Credentials{}, nil
}

// ofRepository returns what a file has for a repository or a namespace that it is in, the
// longest name first: "quay.io/org/app", then "quay.io/org".
func ofRepository(file *configfile.ConfigFile, host, repository string) session.Credentials {
	for name := repository; name != ""; {
		for _, h := range hostNames(host) {
			if auth, ok := file.AuthConfigs[h+"/"+name]; ok {
				return toCredentials(auth)
			}
		}
		name = name[:max(0, strings.LastIndexByte(name, '/'))]
	}
	return session.Credentials{}
}

// ofHost returns what a file, or a helper that it names, has for all of a host.
func (l *logins) ofHost(file *configfile.ConfigFile, host string) (session.Credentials, error) {
	key := file.Filename + "\x00" + host
	if k, ok := l.known[key]; ok && time.Since(k.asked) < credentialsAge {
		return k.Credentials, nil
	}
	auth, err := lookUp(file, host)
	if err != nil {
		return session.Credentials{}, fmt.Errorf("credentials of %s: %w; %s names the helper that was asked: mend it, or take it out there", host, err, file.Filename)
	}
	c := toCredentials(auth)
	l.known[key] = knownCredentials{Credentials: c, asked: time.Now()}
	return c, nil
}

// lookUp finds a host by each of its names. A name with a path is that of a namespace, for
// which ofRepository is.
func lookUp(file *configfile.ConfigFile, host string) (types.AuthConfig, error) {
	names := hostNames(host)
	for _, name := range names {
		// Each helper is asked for the name it is there for.
		helper := file.CredentialHelpers[name]
		if helper == "" && name == names[0] {
			helper = file.CredentialsStore
		}
		if helper != "" {
			auth, err := credentials.NewNativeStore(file, helper).Get(name)
			if err != nil || auth.Password != "" || auth.IdentityToken != "" {
				return auth, err
			}
		}
	}
	for _, name := range names {
		if auth, ok := file.AuthConfigs[name]; ok {
			return auth, nil
		}
	}
	for key, auth := range file.AuthConfigs {
		// As in "https://registry.example/v1/", which docker wrote in its time.
		_, rest, ok := strings.Cut(key, "://")
		if ok && slices.Contains(names, credentials.ConvertToHostname(key)) && (strings.Count(rest, "/") == 0 || isAPI(rest)) {
			return auth, nil
		}
	}
	return types.AuthConfig{}, nil
}

// isAPI says whether a host is followed by the path of the whole registry.
func isAPI(rest string) bool {
	_, path, _ := strings.Cut(rest, "/")
	return slices.Contains([]string{"", "v1", "v2"}, strings.Trim(path, "/"))
}

// hostNames are the names that a host may have in a file, docker's own first.
func hostNames(host string) []string {
	if slices.Contains(hubNames, host) {
		return append([]string{hubKey}, hubNames...)
	}
	return []string{host}
}

func toCredentials(auth types.AuthConfig) session.Credentials {
	if auth.IdentityToken != "" {
		return session.Credentials{Secret: auth.IdentityToken}
	}
	return session.Credentials{Username: auth.Username, Secret: auth.Password}
}
