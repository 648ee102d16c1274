package local_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/local"
)

// auths is an auth.json: names, each with a password.
func auths(kv ...string) string {
	text := ""
	for i := 0; i < len(kv); i += 2 {
		text += fmt.Sprintf(`,%q: {"auth": %q}`, kv[i], base64.StdEncoding.EncodeToString([]byte("user:"+kv[i+1])))
	}
	return `{"auths": {` + text[1:] + `}}`
}

func put(t *testing.T, text string, path ...string) string {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	return write(t, file, text, 0o600)
}

func TestPodmansCredentials(t *testing.T) {
	noLogins(t)
	t.Setenv("PATH", os.Getenv("HOME")) // no helpers of this machine
	put(t, auths("both.example", "docker's", "https://old.example/v1/", "old", "quay.io/docker", "namespace"), os.Getenv("DOCKER_CONFIG"), "config.json")
	put(t, auths("both.example", "podman's", "reg.example:5000", "port", "quay.io", "host", "quay.io/org", "org", "quay.io/org/app", "app",
		"docker.io/me", "mine", "docker.io", "hub", "only.example/org", "not the host's"), os.Getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	put(t, auths("quay.io", "another", "later.example", "later"), os.Getenv("XDG_CONFIG_HOME"), "containers", "auth.json")
	s := open(t, local.Options{})
	for _, c := range []struct{ host, repository, want string }{
		{"both.example", "app", "docker's"},
		{"old.example", "app", "old"},
		{"reg.example:5000", "app", "port"},
		{"reg.example", "app", ""},
		{"quay.io", "org/app", "app"},
		{"quay.io", "org/app/deep", "app"},
		{"quay.io", "org/apple", "org"},
		{"quay.io", "organ/app", "host"},
		{"quay.io", "docker/x", "namespace"},
		{"docker.io", "library/alpine", "hub"},
		{"registry-1.docker.io", "library/alpine", "hub"},
		{"registry-1.docker.io", "me/app", "mine"},
		{"only.example", "org/app", "not the host's"},
		{"only.example", "other/app", ""},
		{"only.example", "", ""},
		{"later.example", "app", "later"},
		{"none.example", "app", ""},
	} {
		got, err := s.Credentials(t.Context(), c.host, c.repository)
		if err != nil || got.Secret != c.want {
			t.Errorf("%s/%s: %+v, %v, want %q", c.host, c.repository, got, err, c.want)
		}
	}
	// A directory that is named is all that is looked at.
	if c := credentials(t, open(t, local.Options{DockerConfig: t.TempDir()}), "quay.io"); c != (session.Credentials{}) {
		t.Errorf("of an empty directory: %+v", c)
	}

	// A file that is named goes in place of the one at run time, and has to be there.
	named := put(t, auths("quay.io", "named"), t.TempDir(), "auth.json")
	t.Setenv("REGISTRY_AUTH_FILE", named)
	if c := credentials(t, open(t, local.Options{}), "quay.io"); c.Secret != "named" {
		t.Errorf("of the named file: %+v", c)
	}
	for text, says := range map[string]string{`{"auths": [`: "cannot be read", `{"auths": {"x": {"auth": "!"}}}`: "cannot be read", "-": "no such file"} {
		if text == "-" {
			named = filepath.Join(t.TempDir(), "none.json")
			t.Setenv("REGISTRY_AUTH_FILE", named)
		} else {
			put(t, text, named)
		}
		_, err := open(t, local.Options{}).Credentials(t.Context(), "x", "")
		wantError(t, err, named, says, "REGISTRY_AUTH_FILE")
	}
}

// Helpers in auth.json are asked, and once for all repositories of a host.
func TestPodmansHelpers(t *testing.T) {
	noLogins(t)
	dir := t.TempDir()
	write(t, dir+"/docker-credential-fake", helper, 0o755)
	t.Setenv("HELPER_LOG", dir+"/log")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	put(t, `{"credHelpers": {"some.example": "fake", "docker.io": "fake"}}`, os.Getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	s := open(t, local.Options{})
	for _, host := range []string{"some.example", "registry-1.docker.io"} {
		for _, repository := range []string{"a", "b/c"} {
			if c, err := s.Credentials(t.Context(), host, repository); err != nil || c.Secret != "secret" {
				t.Errorf("%s/%s: %+v, %v", host, repository, c, err)
			}
		}
	}
	dt, err := os.ReadFile(dir + "/log")
	if err != nil || string(dt) != "get some.example\nget docker.io\n" {
		t.Errorf("the helper was asked %q, %v", dt, err)
	}
}

// DOCKER_AUTH_CONFIG goes before files, as in docker.
func TestCredentialsInTheEnvironment(t *testing.T) {
	noLogins(t)
	put(t, auths("a.example", "file", "b.example", "file"), os.Getenv("DOCKER_CONFIG"), "config.json")
	t.Setenv("DOCKER_AUTH_CONFIG", auths("a.example", "environment"))
	s := open(t, local.Options{})
	if a, b := credentials(t, s, "a.example"), credentials(t, s, "b.example"); a.Secret != "environment" || b.Secret != "file" {
		t.Errorf("%+v and %+v", a, b)
	}
	t.Setenv("DOCKER_AUTH_CONFIG", "{")
	_, err := open(t, local.Options{}).Credentials(t.Context(), "a.example", "")
	wantError(t, err, "DOCKER_AUTH_CONFIG")
}
