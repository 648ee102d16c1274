package contenthash

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// What BuildKit hashes of a file and of a directory, written out. bench/cmd/keys compares
// with BuildKit itself.
func TestBuildKitsDigests(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b": "bytes", "d/a": ""} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Lchown(p, os.Getuid(), os.Getgid()); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("the digests are of files of root")
	}
	const owned = "uid0gid0"
	const rest = "linknameunamegnamedevmajor0devminor0"
	file := digest.FromString("namemode420" + owned + "size5typeflag0" + rest + "bytes").String()
	empty := digest.FromString("namemode420" + owned + "size0typeflag0" + rest).String()
	header := digest.FromString("namemode493" + owned + "size0typeflag5" + rest).String()
	sub := digest.FromString("\x00" + header + "\x00a" + empty).String()
	for _, c := range []struct {
		path, want string
		opt        Opt
	}{
		{"/b", file, Opt{}},
		{"/d", sub, Opt{}},
		{"/none", "", Opt{}},
		{"/b*", digest.FromString("\x00b" + file).String(), Opt{Wildcard: true}},
		{"/none*", digest.FromString("").String(), Opt{Wildcard: true}},
		{"/", digest.FromString("\x00d" + header + "\x00d\x00a" + empty).String(), Opt{ExcludePatterns: []string{"b"}}},
		{"/d", "", Opt{ExcludePatterns: []string{"a"}, RequiredPaths: []string{"/d/a"}}},
	} {
		got, err := BuildKitDir(t.Context(), dir, c.path, c.opt)
		if err != nil || got.String() != c.want {
			t.Errorf("%s %+v: %s, want %s (%v)", c.path, c.opt, got, c.want, err)
		}
	}
}
