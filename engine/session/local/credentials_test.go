package local_test

import (
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/local"
)

func credentials(t *testing.T, s session.Session, host string) session.Credentials {
	t.Helper()
	c, err := s.Credentials(t.Context(), host, "some/app")
	if err != nil {
		t.Fatalf("%s: %v", host, err)
	}
	return c
}

// noLogins makes this machine one on which nobody has logged in.
func noLogins(t *testing.T) {
	t.Helper()
	for _, v := range []string{"DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "HOME"} {
		t.Setenv(v, t.TempDir())
	}
	t.Setenv("REGISTRY_AUTH_FILE", "")
	t.Setenv("DOCKER_AUTH_CONFIG", "")
}

func TestCredentialsInFile(t *testing.T) {
	dir := t.TempDir()
	noLogins(t)
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("PATH", dir) // no helpers of this machine
	anonymous := open(t, local.Options{})
	if c := credentials(t, anonymous, "registry.example"); c != (session.Credentials{}) {
		t.Errorf("without a file: %+v", c)
	}
	// dXNlcjpwYTpzcw== is user:pa:ss.
	write(t, dir+"/config.json", `{"auths": {
		"registry.example:5000": {"auth": "dXNlcjpwYTpzcw=="},
		"https://old.example/v1/": {"auth": "dXNlcjpwYTpzcw=="},
		"token.example": {"auth": "dXNlcjpwYTpzcw==", "identitytoken": "id"},
		"https://index.docker.io/v1/": {"auth": "dXNlcjpwYTpzcw=="}}}`, 0o600)
	user := session.Credentials{Username: "user", Secret: "pa:ss"}
	s := open(t, local.Options{})
	for host, want := range map[string]session.Credentials{
		"registry.example:5000": user,
		"registry.example":      {},
		"old.example":           user,
		"token.example":         {Secret: "id"},
		"docker.io":             user,
		"index.docker.io":       user,
		"registry-1.docker.io":  user,
	} {
		if got := credentials(t, s, host); got != want {
			t.Errorf("%s: %+v, want %+v", host, got, want)
		}
	}
	// A directory that is named goes before the environment's.
	other := t.TempDir()
	if c := credentials(t, open(t, local.Options{DockerConfig: other}), "docker.io"); c != (session.Credentials{}) {
		t.Errorf("of an empty directory: %+v", c)
	}
	write(t, other+"/config.json", `{"auths": [`, 0o600)
	_, err := open(t, local.Options{DockerConfig: other}).Credentials(t.Context(), "docker.io", "some/app")
	wantError(t, err, other+"/config.json", "DOCKER_CONFIG")
}

// helper answers like a credential helper, and writes down what it was asked.
const helper = `#!/bin/sh
read -r host
echo "$1 $host" >> "$HELPER_LOG"
case "$host" in
hub.example) echo '{"ServerURL":"hub.example","Username":"<token>","Secret":"id"}' ;;
https://index.docker.io/v1/) echo '{"Username":"hub","Secret":"pass"}' ;;
none.example) echo "credentials not found in native keychain"; exit 1 ;;
broken.example) echo "the keychain is locked"; exit 1 ;;
*) echo '{"Username":"user","Secret":"secret"}' ;;
esac
`

func TestCredentialHelper(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/docker-credential-fake", helper, 0o755)
	log := dir + "/log"
	t.Setenv("HELPER_LOG", log)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	write(t, dir+"/config.json", `{
		"credHelpers": {"some.example": "fake", "hub.example": "fake", "none.example": "fake", "broken.example": "fake",
			"https://index.docker.io/v1/": "fake", "lost.example": "missing"},
		"auths": {"plain.example": {"auth": "dXNlcjpwYTpzcw=="}}}`, 0o600)
	s := open(t, local.Options{DockerConfig: dir})
	var wg sync.WaitGroup
	for host, want := range map[string]session.Credentials{
		"some.example":         {Username: "user", Secret: "secret"},
		"hub.example":          {Secret: "id"},
		"registry-1.docker.io": {Username: "hub", Secret: "pass"},
		"none.example":         {},
		"plain.example":        {Username: "user", Secret: "pa:ss"},
	} {
		for range 3 {
			wg.Go(func() {
				if got, err := s.Credentials(t.Context(), host, "some/app"); err != nil || got != want {
					t.Errorf("%s: %+v, %v, want %+v", host, got, err, want)
				}
			})
		}
	}
	wg.Wait()
	dt, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(dt), "\n"); n != 4 {
		t.Errorf("the helper ran %d times for 4 hosts:\n%s", n, dt)
	}
	_, err = s.Credentials(t.Context(), "broken.example", "some/app")
	wantError(t, err, "broken.example", "the keychain is locked", dir+"/config.json")
	_, err = s.Credentials(t.Context(), "lost.example", "some/app")
	wantError(t, err, "lost.example", "docker-credential-missing", dir+"/config.json")
}
