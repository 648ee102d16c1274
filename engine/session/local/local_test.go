package local_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/local"
)

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, opt local.Options) session.Session {
	t.Helper()
	opt.ID = "s"
	s, err := local.New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// refused says that a session cannot be made, and what the error has to tell.
func refused(t *testing.T, opt local.Options, says ...string) {
	t.Helper()
	opt.ID = "s"
	_, err := local.New(t.Context(), opt)
	wantError(t, err, says...)
}

func wantError(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that says %q", says)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
}

func TestDirs(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a/file", "hello", 0o644)
	if err := os.Symlink("a", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	s := open(t, local.Options{Dirs: map[string]string{"context": dir + "/link"}})
	d, err := s.Dir(t.Context(), "context")
	if err != nil {
		t.Fatal(err)
	}
	if d.Path != dir+"/a" {
		t.Errorf("Path is %q", d.Path)
	}
	f, err := d.FS.Open("file")
	if err != nil {
		t.Fatal(err)
	}
	dt, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil || string(dt) != "hello" {
		t.Errorf("read %q, %v", dt, err)
	}
	if _, err := s.Dir(t.Context(), "other"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a directory that was not lent: %v", err)
	}
	refused(t, local.Options{Dirs: map[string]string{"context": dir + "/none"}}, `"context"`, dir+"/none")
	refused(t, local.Options{Dirs: map[string]string{"context": dir + "/a/file"}}, `"context"`, "not a directory")
	if s, err := local.New(t.Context(), local.Options{}); err != nil || s.ID() == "" {
		t.Errorf("a session that was given no ID: %v", err)
	}
}

func TestParseSecret(t *testing.T) {
	for flag, want := range map[string]local.Secret{
		"id=a":                      {ID: "a"},
		"id=a,src=/x/y":             {ID: "a", File: "/x/y"},
		"source=y,ID=a":             {ID: "a", File: "y"},
		"id=a,env=B":                {ID: "a", Env: "B"},
		"id=a,type=env,src=B":       {ID: "a", Env: "B"},
		"type=env,id=a":             {ID: "a", Env: "a"},
		"type=file,id=a":            {ID: "a", File: "a"},
		`id=a,"src=with,comma"`:     {ID: "a", File: "with,comma"},
		"id=a,type=file,src=k=v.pm": {ID: "a", File: "k=v.pm"},
	} {
		got, err := local.ParseSecret(flag)
		if err != nil || got.ID != want.ID || got.Env != want.Env || got.File != want.File {
			t.Errorf("%s: %+v, %v", flag, got, err)
		}
	}
	for flag, says := range map[string]string{
		"":                     "id=ID,src=FILE",
		"a":                    "not KEY=VALUE",
		"src=a":                "the id is missing",
		"id=":                  "has no value",
		"id=a,id=b":            "twice",
		"id=a,src=b,source=c":  "twice",
		"id=a,src=b,env=C":     "both a file and an environment variable",
		"id=a,type=pipe":       "neither file nor env",
		"id=a,type=file,env=":  "has no value",
		"id=a,type=file,env=B": "does not go",
		"id=a,mode=7":          `no "mode"`,
		`id=a,"src`:            "comma-separated",
	} {
		_, err := local.ParseSecret(flag)
		wantError(t, err, says)
	}
}

func FuzzParseSecret(f *testing.F) {
	f.Add(`id=a,"src=b,c",type=file`)
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := local.ParseSecret(s); err == nil && got.ID == "" {
			t.Errorf("%q has no id", s)
		}
		if got, err := local.ParseSSH(s); err == nil && got.ID == "" {
			t.Errorf("%q has no id", s)
		}
	})
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("SECRET_IN_ENV", "from env")
	t.Setenv("EMPTY", "")
	t.Chdir(dir)
	write(t, dir+"/token", "from file\x00\n", 0o600)
	s := open(t, local.Options{Secrets: []local.Secret{
		{ID: "SECRET_IN_ENV"}, {ID: "token"}, {ID: "EMPTY"},
		{ID: "e", Env: "SECRET_IN_ENV"}, {ID: "f", File: dir + "/token"}, {ID: "v", Value: []byte("value")},
	}})
	// What was checked is what is used, whatever happens to the file.
	if err := os.Remove(dir + "/token"); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{
		"SECRET_IN_ENV": "from env", "token": "from file\x00\n", "EMPTY": "",
		"e": "from env", "f": "from file\x00\n", "v": "value",
	} {
		dt, err := s.Secret(t.Context(), id)
		if err != nil || string(dt) != want {
			t.Errorf("%s: %q, %v", id, dt, err)
		}
	}
	if _, err := s.Secret(t.Context(), "none"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a secret that was not lent: %v", err)
	}

	one := func(s ...local.Secret) local.Options { return local.Options{Secrets: s} }
	refused(t, one(local.Secret{ID: "none"}), `"none"`, "neither an environment variable nor a file", "src=FILE")
	refused(t, one(local.Secret{ID: "a", File: "none"}), `"a"`, "none: no such file")
	refused(t, one(local.Secret{ID: "a", Env: "NOT_SET_ANYWHERE"}), `"a"`, "NOT_SET_ANYWHERE is not set")
	refused(t, one(local.Secret{ID: "a", File: "."}), `"a"`, "is a directory")
	refused(t, one(local.Secret{ID: "a", Value: []byte{}}, local.Secret{ID: "a", Value: []byte{}}), "twice")
	write(t, "large", strings.Repeat("x", local.MaxSecret+1), 0o600)
	refused(t, one(local.Secret{ID: "a", File: "large"}), "larger than 500 KiB")
}

func TestLayout(t *testing.T) {
	dir := t.TempDir()
	refused(t, local.Options{Layouts: map[string]string{"l": dir}}, `"l"`, "no OCI layout")
	write(t, dir+"/oci-layout", `{"imageLayoutVersion":"1.0.0"}`, 0o644)
	blob := []byte("a blob")
	d := digest.FromBytes(blob)
	write(t, dir+"/blobs/sha256/"+d.Encoded(), string(blob), 0o644)
	write(t, dir+"/blobs/sha256/.tmp", "no blob", 0o644)
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}

	s := open(t, local.Options{Layouts: map[string]string{"l": dir}})
	l, err := s.Layout(t.Context(), "l")
	if err != nil {
		t.Fatal(err)
	}
	dt, err := content.ReadBlob(t.Context(), l, ocispec.Descriptor{Digest: d, Size: int64(len(blob))})
	if err != nil || !bytes.Equal(dt, blob) {
		t.Errorf("read %q, %v", dt, err)
	}
	if info, err := l.Info(t.Context(), d); err != nil || info.Size != int64(len(blob)) {
		t.Errorf("info %+v, %v", info, err)
	}
	n := 0
	if err := l.Walk(t.Context(), func(content.Info) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("walked %d blobs, %v", n, err)
	}
	for _, bad := range []digest.Digest{digest.FromString("other"), "sha256:../../x", ""} {
		if _, err := l.Info(t.Context(), bad); err == nil {
			t.Errorf("there is a blob %q", bad)
		}
		if _, err := l.ReaderAt(t.Context(), ocispec.Descriptor{Digest: bad}); err == nil {
			t.Errorf("there is a blob %q", bad)
		}
	}
	if _, err := l.Info(t.Context(), digest.FromString("other")); !errdefs.IsNotFound(err) {
		t.Errorf("a blob that is missing: %v", err)
	}
	if _, err := l.Writer(t.Context(), content.WithRef("x")); err == nil {
		t.Error("the layout can be written to")
	}
	if after, err := os.ReadDir(dir); err != nil || len(after) != len(before) {
		t.Errorf("the layout has other files than before: %v, %v", after, err)
	}
	if _, err := s.Layout(t.Context(), "other"); !errors.Is(err, session.ErrNotFound) {
		t.Errorf("a layout that was not lent: %v", err)
	}
}
