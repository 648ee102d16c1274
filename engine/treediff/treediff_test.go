package treediff_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/treediff"
)

// file is a node as a client's, with the sum of its bytes.
func file(name, data string, mode uint32) *contenthash.Node {
	n := &contenthash.Node{Name: name, Entry: contenthash.Entry{Kind: contenthash.File, Mode: mode}}
	return fill(n, data)
}

func fill(n *contenthash.Node, data string) *contenthash.Node {
	n.Entry.Size = int64(len(data))
	_, n.Entry.Content, _ = n.Entry.SumContent(context.Background(), strings.NewReader(data))
	return n
}

func dir(name string, children ...*contenthash.Node) *contenthash.Node {
	return &contenthash.Node{Name: name, Entry: contenthash.Entry{Kind: contenthash.Dir, Mode: 0o755}, Children: children}
}

func entry(name string, e contenthash.Entry) *contenthash.Node {
	return &contenthash.Node{Name: name, Entry: e}
}

func compare(t *testing.T, old, new treediff.Tree, opt treediff.Options) *treediff.Diff {
	t.Helper()
	d, err := treediff.Compare(t.Context(), old, new, opt)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Each kind of change, in words and in JSON.
func TestKinds(t *testing.T) {
	link := func(to string) *contenthash.Node {
		return entry("x", contenthash.Entry{Kind: contenthash.Symlink, Target: to})
	}
	device := func(minor uint32) *contenthash.Node {
		return entry("x", contenthash.Entry{Kind: contenthash.Char, Mode: 0o666, Major: 1, Minor: minor})
	}
	owned := func(uid, gid uint32) *contenthash.Node {
		n := file("x", "", 0o644)
		n.Entry.UID, n.Entry.GID = uid, gid
		return n
	}
	with := func(attrs ...string) *contenthash.Node {
		n := dir("x")
		n.Entry.Xattrs = map[string][]byte{"security.selinux": []byte(attrs[0])}
		for i := 0; i < len(attrs); i += 2 {
			n.Entry.Xattrs[attrs[i]] = []byte(attrs[i+1])
		}
		return n
	}
	at := func(seconds int64) *contenthash.Node {
		n := file("x", "a", 0o644)
		n.Entry.ModTime = time.Unix(seconds, 5)
		return n
	}
	for _, c := range []struct {
		old, new    *contenthash.Node
		words, json string
	}{
		{nil, file("x", "a", 0o644), "added     x (1 byte)", `[{"path":"x","change":"added","new":"file"}]`},
		{nil, dir("x", file("y", "a", 0o644)), "added     x/", `[{"path":"x","change":"added","new":"directory"}]`},
		{link("a"), nil, "removed   x (symlink)", `[{"path":"x","change":"removed","old":"symlink"}]`},
		{dir("x", file("y", "a", 0o644)), link("a"), "type      x directory → symlink", `[{"path":"x","change":"type","old":"directory","new":"symlink"}]`},
		{file("x", strings.Repeat("a", 1204), 0o644), file("x", strings.Repeat("a", 1234567), 0o644), "modified  x (1,204 → 1,234,567 bytes)", `[{"path":"x","change":"content","old":"1204","new":"1234567"}]`},
		{file("x", "a", 0o644), file("x", "b", 0o644), "modified  x (1 byte)", `[{"path":"x","change":"content","old":"1","new":"1"}]`},
		{file("x", "", 0o644), file("x", "", 0o4755), "mode      x 0644 → 4755", `[{"path":"x","change":"mode","old":"0644","new":"4755"}]`},
		{owned(0, 0), owned(1000, 5), "owner     x 0:0 → 1000:5", `[{"path":"x","change":"owner","old":"0:0","new":"1000:5"}]`},
		{link("a"), link("b\x1b"), `target    x a → b\u001b`, `[{"path":"x","change":"target","old":"a","new":"b\u001b"}]`},
		{device(3), device(5), "device    x 1:3 → 1:5", `[{"path":"x","change":"device","old":"1:3","new":"1:5"}]`},
		{
			with("user.a", "1", "user.b", "1"), with("user.b", "2", "user.c", "1"),
			"xattr     x user.a removed\nxattr     x user.b has another value\nxattr     x user.c added",
			`[{"path":"x","change":"xattr","old":"user.a"},{"path":"x","change":"xattr","old":"user.b","new":"user.b"},{"path":"x","change":"xattr","new":"user.c"}]`,
		},
		{at(0), at(1), "time      x 1970-01-01T00:00:00.000000005Z → 1970-01-01T00:00:01.000000005Z", `[{"path":"x","change":"time","old":"1970-01-01T00:00:00.000000005Z","new":"1970-01-01T00:00:01.000000005Z"}]`},
		{file("x", "a", 0o644), file("x", "bc", 0o755), "modified  x (1 → 2 bytes)\nmode      x 0644 → 0755", `[{"path":"x","change":"content","old":"1","new":"2"},{"path":"x","change":"mode","old":"0644","new":"0755"}]`},
		{
			file("x", "a", 0o644), file("x", "a", 0o755), "mode      x 0644 → 0755 (its bytes may have changed, too: they are not kept)",
			`[{"path":"x","change":"mode","old":"0644","new":"0755","bytes_unknown":true}]`,
		},
		{file("x", "a", 0o644), file("x", "a", 0o644), "", `null`},
	} {
		root := func(n *contenthash.Node) treediff.Tree {
			if n == nil {
				return treediff.Nodes(dir(""))
			}
			return treediff.Nodes(dir("", n))
		}
		d := compare(t, root(c.old), root(c.new), treediff.Options{})
		var words bytes.Buffer
		if err := d.Write(&words); err != nil || strings.TrimSuffix(words.String(), "\n") != c.words {
			t.Errorf("%v\n%s\nwant\n%s", err, words.String(), c.words)
		}
		if dt, err := json.Marshal(d.Changes); err != nil || string(dt) != strings.ReplaceAll(c.json, `\u001b`, "\\u001b") {
			t.Errorf("%v\n%s\nwant\n%s", err, dt, c.json)
		}
	}
}

func TestOfTheTop(t *testing.T) {
	a, b := treediff.Nodes(file("", "a", 0o644)), treediff.Nodes(file("", "bc", 0o644))
	for _, c := range []struct {
		old, new treediff.Tree
		want     string
	}{
		{a, b, "modified  . (1 → 2 bytes)\n"},
		{nil, b, "added     . (2 bytes)\n"},
		{a, treediff.Nodes(nil), "removed   . (1 byte)\n"},
		{nil, nil, ""},
	} {
		var got bytes.Buffer
		if err := compare(t, c.old, c.new, treediff.Options{}).Write(&got); err != nil || got.String() != c.want {
			t.Errorf("%v %q, want %q", err, got.String(), c.want)
		}
	}
}

func TestRenames(t *testing.T) {
	old := dir("",
		file("README", "r", 0o644), file("old.txt", "same", 0o644), file("two", "2", 0o644), file("empty", "", 0o644), dir("Src", file("a", "1", 0o644)),
		file("mode", "m", 0o644), dir("sub", file("moved", "2", 0o644), file("", "", 0)))
	new := dir("",
		file("Readme", "r", 0o644), file("new.txt", "same", 0o644), file("blank", "", 0o644), dir("src", file("a", "1", 0o644)),
		file("mode2", "m", 0o755), file("moved", "2", 0o644), dir("sub", file("", "", 0)))
	var got bytes.Buffer
	if err := compare(t, treediff.Nodes(old), treediff.Nodes(new), treediff.Options{Renames: true}).Write(&got); err != nil {
		t.Fatal(err)
	}
	const want = `renamed   README → Readme
added     blank (0 bytes)
removed   empty (0 bytes)
removed   mode (1 byte)
added     mode2 (1 byte)
renamed   sub/moved → moved
renamed   old.txt → new.txt
renamed   Src → src
removed   two (1 byte)
`
	if got.String() != want {
		t.Errorf("%s\nwant\n%s", got.String(), want)
	}
}

func TestLimit(t *testing.T) {
	old, new := dir(""), dir("")
	for i := range 20_000 {
		name := string([]rune{rune('a' + i/10_000), rune('a' + i/1000%10), rune('a' + i/100%10), rune('a' + i/10%10), rune('a' + i%10)})
		old.Children = append(old.Children, file(name+"-old", name, 0o644))
		new.Children = append(new.Children, file(name+"-new", name, 0o644))
	}
	for _, renames := range []bool{false, true} {
		d := compare(t, treediff.Nodes(old), treediff.Nodes(new), treediff.Options{Limit: 3, Renames: renames})
		want := 40_000
		if renames {
			want -= 8192 / 2 // of the pairs that were kept in sight
		}
		if n := len(d.Changes); n != 3 || n+d.LeftOut != want {
			t.Errorf("%d changes and %d left out, want %d", n, d.LeftOut, want)
		}
	}
}

// lazy is a tree that may be loaded where it has to be only.
type lazy struct {
	treediff.Tree
	forbidden bool
	children  []treediff.Child
}

var errLoaded = errors.New("it was loaded")

func (l *lazy) Entry(ctx context.Context) (*contenthash.Entry, error) {
	if l.forbidden {
		return nil, errLoaded
	}
	return l.Tree.Entry(ctx)
}

func (l *lazy) Children(ctx context.Context) ([]treediff.Child, error) {
	if l.forbidden {
		return nil, errLoaded
	}
	return l.children, nil
}

func TestEqualSumsAreNotLoaded(t *testing.T) {
	root := func(data string, forbidden bool) treediff.Tree {
		equal := dir("equal", file("a", "1", 0o644))
		other := dir("other", file("b", data, 0o644))
		top := dir("", equal, other)
		return &lazy{Tree: treediff.Nodes(top), children: []treediff.Child{
			{Name: "equal", Tree: &lazy{Tree: treediff.Nodes(equal), forbidden: true}},
			{Name: "other", Tree: &lazy{Tree: treediff.Nodes(other), forbidden: forbidden, children: []treediff.Child{{Name: "b", Tree: treediff.Nodes(other.Children[0])}}}},
		}}
	}
	d := compare(t, root("1", false), root("2", false), treediff.Options{})
	if len(d.Changes) != 1 || d.Changes[0].Path != "other/b" {
		t.Errorf("%v", d)
	}
	if _, err := treediff.Compare(t.Context(), root("1", true), root("2", false), treediff.Options{}); !errors.Is(err, errLoaded) || !strings.Contains(err.Error(), "comparing other: ") {
		t.Error(err)
	}
}

// opened is a file whose bytes can be read.
type opened struct {
	treediff.Tree
	data string
}

func (o opened) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(o.data)), nil
}

// One side that can be read is enough to know whether the bytes changed with the mode.
func TestBytesUnderAnotherHeader(t *testing.T) {
	for _, data := range []string{"a", "b"} {
		old, new := treediff.Nodes(file("", "a", 0o644)), treediff.Nodes(file("", data, 0o755))
		for name, pair := range map[string][2]treediff.Tree{
			"new": {old, opened{new, data}}, "old": {opened{old, "a"}, new}, "both": {opened{old, "a"}, opened{new, data}},
		} {
			d := compare(t, pair[0], pair[1], treediff.Options{})
			want := 1
			if data == "b" {
				want = 2
			}
			if len(d.Changes) != want || d.Changes[0].BytesUnknown {
				t.Errorf("%s %s: %v", name, data, d.Changes)
			}
		}
	}
}

// endless is a directory in itself, as only what was made by hand can be.
type endless struct{ treediff.Tree }

func (e endless) Sum() (contenthash.Sum, bool) { return contenthash.Sum{}, false }

func (e endless) Children(context.Context) ([]treediff.Child, error) {
	return []treediff.Child{{Name: "x", Tree: e}}, nil
}

func TestBadTrees(t *testing.T) {
	twice := treediff.Nodes(dir("", file("a", "1", 0o644), file("b", "1", 0o644), file("a", "2", 0o644)))
	e := endless{treediff.Nodes(dir(""))}
	for words, pair := range map[string][2]treediff.Tree{
		"a directory has a name twice":          {twice, treediff.Nodes(dir(""))},
		"it is more than 4096 directories deep": {e, e},
	} {
		_, err := treediff.Compare(t.Context(), pair[0], pair[1], treediff.Options{Renames: true})
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %s", err, words)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrNoProgress)
	if _, err := treediff.Compare(ctx, e, e, treediff.Options{}); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}
