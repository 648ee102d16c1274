package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestContexts checks how a context and its Dockerfile are found.
func TestContexts(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"ctx/Dockerfile", "ctx/sub/my.Dockerfile", "lower/dockerfile", "beside/D"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"ctx/in": "sub/my.Dockerfile", "ctx/out": "../beside/D"} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	for args, want := range map[string]struct{ dirs, attrs map[string]string }{
		"ctx":                              {map[string]string{"context": "ctx", "dockerfile": "ctx"}, map[string]string{"filename": "Dockerfile"}},
		"lower":                            {map[string]string{"context": "lower", "dockerfile": "lower"}, map[string]string{"filename": "dockerfile"}},
		"ctx -f beside/D":                  {map[string]string{"context": "ctx", "dockerfile": "beside"}, map[string]string{"filename": "D"}},
		"ctx -f sub/my.Dockerfile":         {map[string]string{"context": "ctx", "dockerfile": "ctx/sub"}, map[string]string{"filename": "my.Dockerfile"}},
		"ctx -f ctx/in":                    {map[string]string{"context": "ctx", "dockerfile": "ctx"}, map[string]string{"filename": "in"}},
		"ctx -f ctx/out":                   {map[string]string{"context": "ctx", "dockerfile": "beside"}, map[string]string{"filename": "D"}},
		"https://h.example/a.git#b:c -f d": {map[string]string{}, map[string]string{"context": "https://h.example/a.git#b:c", "filename": "d"}},
		"git@h.example:a.git":              {map[string]string{}, map[string]string{"context": "git@h.example:a.git"}},
		"https://h.example/a.tar":          {map[string]string{}, map[string]string{"context": "https://h.example/a.tar"}},
		"ctx --build-context X=lower --build-context context=beside": {
			map[string]string{"context": "ctx", "dockerfile": "ctx", "x": "lower", "_context": "beside"},
			map[string]string{"filename": "Dockerfile", "context:x": "local:x", "context:context": "local:_context"}},
		"ctx --build-context a:1=docker-image://b --build-context u=https://h.example/a.git": {
			map[string]string{"context": "ctx", "dockerfile": "ctx"},
			map[string]string{"filename": "Dockerfile", "context:a:1": "docker-image://b", "context:u": "https://h.example/a.git"}},
	} {
		t.Run(args, func(t *testing.T) {
			where, flags, _ := strings.Cut(args, " ")
			c := &cli{in: strings.NewReader(""), env: environment()}
			in, err := c.input(t.Context(), where, parsed(t, strings.Fields(flags)...))
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(in.dirs, want.dirs) || !maps.Equal(in.attrs, want.attrs) {
				t.Errorf("got  %v %v\nwant %v %v", in.dirs, in.attrs, want.dirs, want.attrs)
			}
			if err := in.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestLayoutNames(t *testing.T) {
	in := &buildInput{layouts: map[string]string{}}
	for _, c := range []struct{ context, want string }{
		{"base", "base"}, {"library/base:1.2", "library-base-1-2"}, {"library/base.1.2", "library-base-1-2x"}, {"-", "x"}, {"é", "xx"},
	} {
		got := in.layoutName(c.context)
		in.layouts[got] = "somewhere"
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.context, got, c.want)
		}
	}
}

// FuzzStandardInput reads a context from standard input: it may be refused, and is
// never kept.
func FuzzStandardInput(f *testing.F) {
	f.Add([]byte("FROM scratch\n"))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Add(append([]byte("BZh"), make([]byte, 600)...))
	f.Fuzz(func(t *testing.T, dt []byte) {
		dir := t.TempDir()
		t.Setenv("TMPDIR", dir)
		c := &cli{in: strings.NewReader(string(dt)), env: environment()}
		if in, err := c.input(t.Context(), "-", &buildFlags{}); err == nil {
			defer func() {
				if err := in.Close(); err != nil {
					t.Error(err)
				}
			}()
		}
		// Not even now: should the process be killed, nobody would remove it.
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Fatalf("left: %v, %v", left, err)
		}
	})
}
