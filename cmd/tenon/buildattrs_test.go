package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// parsed are the flags of build as a command line sets them.
func parsed(t *testing.T, args ...string) *buildFlags {
	t.Helper()
	f := &buildFlags{}
	fs := pflag.NewFlagSet("build", pflag.ContinueOnError)
	f.register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if err := f.validate(); err != nil {
		t.Fatal(err)
	}
	return f
}

// environment is one for tests.
func environment(vars ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(vars); i += 2 {
		m[vars[i]] = vars[i+1]
	}
	return func(name string) (string, bool) {
		v, ok := m[name]
		return v, ok
	}
}

func TestAttributes(t *testing.T) {
	for name, c := range map[string]struct {
		args string
		env  []string
		want map[string]string
	}{
		"none":        {"", nil, map[string]string{}},
		"target":      {"--target x", nil, map[string]string{"target": "x"}},
		"build-arg":   {"--build-arg A=1 --build-arg B= --build-arg C=a=b,c", nil, map[string]string{"build-arg:A": "1", "build-arg:B": "", "build-arg:C": "a=b,c"}},
		"from env":    {"--build-arg A --build-arg B", []string{"A", "env"}, map[string]string{"build-arg:A": "env"}},
		"epoch":       {"", []string{"SOURCE_DATE_EPOCH", "1"}, map[string]string{"build-arg:SOURCE_DATE_EPOCH": "1"}},
		"epoch given": {"--build-arg SOURCE_DATE_EPOCH=2", []string{"SOURCE_DATE_EPOCH", "1"}, map[string]string{"build-arg:SOURCE_DATE_EPOCH": "2"}},
		"platforms":   {"--platform linux/amd64,linux/arm64 --platform linux/386", nil, map[string]string{"platform": "linux/amd64,linux/arm64,linux/386"}},
		"labels":      {"--label a=b=c --label d", nil, map[string]string{"label:a": "b=c", "label:d": ""}},
		"no-cache":    {"--no-cache", nil, map[string]string{"no-cache": ""}},
		"of stages":   {"--no-cache-filter a,b --no-cache-filter c", nil, map[string]string{"no-cache": "a,b,c"}},
		"pull":        {"--pull", nil, map[string]string{"image-resolve-mode": "pull"}},
		"network":     {"--network none", nil, map[string]string{"force-network-mode": "none"}},
		"hosts":       {"--add-host a:1.2.3.4 --add-host b=[::1] --add-host c:::2", nil, map[string]string{"add-hosts": "a=1.2.3.4,b=::1,c=::2"}},
		"limits":      {"--ulimit nofile=1:2 --ulimit core=0", nil, map[string]string{"ulimit": "nofile=1:2,core=0:0"}},
		"shm":         {"--shm-size 64m", nil, map[string]string{"shm-size": "67108864"}},
		"cgroup":      {"--cgroup-parent x", nil, map[string]string{"cgroup-parent": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parsed(t, strings.Fields(c.args)...).attrs(environment(c.env...))
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("got  %v\nwant %v", got, c.want)
			}
		})
	}
}

func TestCall(t *testing.T) {
	for in, want := range map[string]call{
		"":                          {request: "", format: "text"},
		"build":                     {request: "", format: "text"},
		"check":                     {request: "frontend.lint", format: "text"},
		"lint":                      {request: "frontend.lint", format: "text"},
		"subrequests.outline":       {request: "frontend.outline", format: "text"},
		"targets,format=json":       {request: "frontend.targets", format: "json"},
		"outline,format=text":       {request: "frontend.outline", format: "text"},
		"check,json":                {},
		"check,format=":             {},
		"subrequests.describe":      {request: "frontend.subrequests.describe", format: "text"},
		"check,ignorestatus=true":   {request: "frontend.lint", format: "text", ignoreStatus: true},
		"check,ignorestatus=maybe":  {},
		"check,format=json,and=one": {},
	} {
		got, err := parseCall(in)
		if (err != nil) != (want == call{}) || got != want {
			t.Errorf("%q: got %+v, %v", in, got, err)
		}
	}
}

func TestProgressMode(t *testing.T) {
	for _, c := range []struct{ args, env, want string }{
		{"", "", "auto"},
		{"", "plain", "plain"},
		{"--progress tty", "plain", "tty"},
		{"-q", "plain", "quiet"},
	} {
		if got := parsed(t, strings.Fields(c.args)...).progressMode(environment("BUILDKIT_PROGRESS", c.env)); got != c.want {
			t.Errorf("%q, %q: got %q", c.args, c.env, got)
		}
	}
}
