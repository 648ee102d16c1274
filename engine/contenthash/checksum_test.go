package contenthash

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fill fills a directory: names that end in a slash are directories, "->" makes a
// link, all else is a file of these bytes.
func fill(t testing.TB, dir string, all map[string]string) string {
	t.Helper()
	for name, data := range all {
		p := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		if target, ok := strings.CutPrefix(data, "->"); ok && err == nil {
			err = os.Symlink(target, p)
		} else if strings.HasSuffix(name, "/") && err == nil {
			err = os.MkdirAll(p, 0o755)
		} else if err == nil {
			err = os.WriteFile(p, []byte(data), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Paths that mean the same have the same digest, and others have another.
func TestPaths(t *testing.T) {
	dir := fill(t, t.TempDir(), map[string]string{
		"a/one.txt": "1", "a/two.txt": "2", "a/sub/three.txt": "3",
		"b/one.txt": "1", "b/two.txt": "2", "b/sub/three.txt": "3",
		"c/one.txt": "1", "c/zwo.txt": "2",
		"link": "->a", "abs": "->/a", "out": "->../../../../a", "loop": "->loop", "dangling": "->nowhere",
		"deep/up": "->../link/sub", "filelink": "->a/one.txt", "deep/abs": "->/a", "new\nline": "1", "empty/": "",
	})
	follow := Opt{FollowLinks: true}
	wild := Opt{Wildcard: true}
	for _, c := range []struct {
		name string
		p, q string
		o, u Opt
		same bool
	}{
		{"equal trees", "a", "b", Opt{}, Opt{}, true},
		{"a name inside", "a", "c", Opt{}, Opt{}, false},
		{"the name of the file itself", "a/one.txt", "new\nline", Opt{}, Opt{}, true},
		{"slashes", "a", "//a/./", Opt{}, Opt{}, true},
		{"a trailing slash", "a", "a/", Opt{}, Opt{}, true},
		{"dots at the root", "../../a", "a", Opt{}, Opt{}, true},
		{"a link is a link", "link", "a", Opt{}, follow, false},
		{"a link followed", "link", "a", follow, Opt{}, true},
		{"an absolute link", "abs", "a", follow, Opt{}, true},
		{"an absolute link in a directory", "deep/abs/sub", "a/sub", Opt{}, Opt{}, true},
		{"a link that climbs", "out", "a", follow, Opt{}, true},
		{"a link on the way", "link/sub", "a/sub", Opt{}, Opt{}, true},
		{"links on the way of links", "deep/up/three.txt", "a/sub/three.txt", Opt{}, Opt{}, true},
		{"a file behind a link", "filelink", "a/one.txt", follow, Opt{}, true},
		{"the root", "", "/", Opt{}, Opt{}, true},
		{"equal matches", "a/*.txt", "b/*.txt", wild, wild, true},
		{"matches through a link", "link/*.txt", "a/*.txt", wild, wild, true},
		{"other names", "a/*.txt", "c/*.txt", wild, wild, false},
		{"no wildcard", "a", "a", wild, Opt{}, true},
		{"a directory in a pattern", "*/one.txt", "?/one.txt", wild, wild, true},
		{"no match", "nothing*", "none*", wild, wild, true},
		{"a match and none", "emp*", "none*", wild, wild, false},
		{"a star stays in its component", "a*.txt", "none*", wild, wild, true},
		{"patterns that choose all", "a", "b", Opt{IncludePatterns: []string{"**"}}, Opt{}, true},
		{"an exclusion", "a", "b", Opt{ExcludePatterns: []string{"sub"}}, Opt{}, false},
		{"two ways to leave out", "a", "b", Opt{ExcludePatterns: []string{"sub"}}, Opt{IncludePatterns: []string{"*.txt"}}, true},
		{"matches without something", "*", "*", Opt{Wildcard: true, ExcludePatterns: []string{"sub"}}, wild, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := ChecksumDir(t.Context(), dir, c.p, c.o)
			if err != nil {
				t.Fatal(err)
			}
			b, err := ChecksumDir(t.Context(), dir, c.q, c.u)
			if err != nil {
				t.Fatal(err)
			}
			if (a == b) != c.same {
				t.Errorf("%q and %q have the same digest: %v", c.p, c.q, a == b)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	dir := fill(t, t.TempDir(), map[string]string{"a/f": "1", "loop": "->loop", "dangling": "->nowhere", "l1": "->l2", "l2": "->l1"})
	for _, c := range []struct {
		p, want string
		opt     Opt
		missing string
	}{
		{p: "b", missing: "b"},
		{p: "a/f/g", missing: "a/f/g"},
		{p: "dangling", opt: Opt{FollowLinks: true}, missing: "dangling"},
		{p: "dangl*", opt: Opt{FollowLinks: true, Wildcard: true}, missing: "/dangling"},
		{p: "b", opt: Opt{IncludePatterns: []string{"x"}}, missing: "b"},
		{p: "/", opt: Opt{IncludePatterns: []string{"a/g"}, RequiredPaths: []string{"/a/g"}}, missing: "/a/g"},
		{p: "/a", opt: Opt{RequiredPaths: []string{"/b"}}, missing: "/b"},
		{p: "loop", opt: Opt{FollowLinks: true}, want: "circle"},
		{p: "l1/x", want: "circle"},
		{p: "a", opt: Opt{IncludePatterns: []string{"["}}, want: "syntax error"},
		{p: "[", opt: Opt{Wildcard: true}, want: "syntax error"},
	} {
		_, err := ChecksumDir(t.Context(), dir, c.p, c.opt)
		if err == nil {
			t.Errorf("%q: no error", c.p)
			continue
		}
		var missing *NotFoundError
		if errors.As(err, &missing) != (c.missing != "") || (missing != nil && (missing.Path != c.missing || !errors.Is(err, fs.ErrNotExist))) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v: want %q%q", c.p, err, c.want, c.missing)
		}
	}
	if _, err := ChecksumDir(t.Context(), dir, "/", Opt{IncludePatterns: []string{"a/f"}, RequiredPaths: []string{"/a/f"}}); err != nil {
		t.Error(err)
	}
}

// The empty tree is as an empty directory.
func TestEmptyTree(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		want, err := ChecksumDir(ctx, dir, "/", Opt{})
		if got, gotErr := Checksum(ctx, nil, "/", Opt{}); got != want || err != nil || gotErr != nil {
			t.Errorf("%s, %v: want %s, %v", got, gotErr, want, err)
		}
	}
	var missing *NotFoundError
	if _, err := Checksum(ctx, nil, "/a", Opt{}); !errors.As(err, &missing) {
		t.Errorf("got %v", err)
	}
	for _, opt := range []Opt{{Wildcard: true}, {IncludePatterns: []string{"x"}}} {
		p := "/"
		if opt.Wildcard {
			p = "/*"
		}
		if _, err := Checksum(ctx, nil, p, opt); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
}

// The format is kept on disk and in shared caches: it must not change by accident.
func TestGolden(t *testing.T) {
	file := Entry{Kind: File, Mode: 0o644, UID: 1, GID: 2, Size: 3, Content: Sum{1, 2, 3}, Xattrs: map[string][]byte{"user.a": []byte("b"), "trusted.c": []byte("d")}}
	link := Entry{Kind: Symlink, Mode: 0o700, Target: "x"}
	node := Node{Entry: Entry{Kind: Dir, Mode: 0o755}, Children: []*Node{{Name: "l", Entry: link}, {Name: "f", Entry: file}, {Name: "n", Entry: Entry{Kind: Char, Major: 1, Minor: 3}}}}
	for name, c := range map[string][2]string{
		"file": {file.Sum().Digest().Encoded(), "ac25dfaabc2fec915775d4bb091c396175c41554d537b79b8770f626893a2884"},
		"link": {link.Sum().Digest().Encoded(), "2173ed2fcb6f56ab593c2121fcd166b834c6d5a95ec8342b7b9843f20bd73c36"},
		"tree": {node.Sum().Digest().Encoded(), "dc874d06a0c4affc431a2dfa0aba0987cb88209837709457fbe7e134db99d66b"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %s, want %s", name, c[0], c[1])
		}
	}
}

func TestHasWildcard(t *testing.T) {
	for path, want := range map[string]bool{
		"": false, "/a/b": false, "*": true, "/a/b?c": true, "[ab]": true, "a]": false,
		`\*`: false, `\\*`: true, `a\[b`: false, `\`: false, `a\`: false, "é*": true,
	} {
		if got := HasWildcard(path); got != want {
			t.Errorf("%q: %t", path, got)
		}
	}
}
