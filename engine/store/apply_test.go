package store_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"golang.org/x/sys/unix"
)

var layerSeeds = flag.Int("store.seeds", 40, "how many random images TestRandomLayers unpacks")

// item is an entry of a layer.
type item struct {
	name  string // without a slash at the end
	kind  byte   // of tar.Type*; regular for a whiteout
	text  string // of a file; where links lead to
	mode  int64
	uid   int
	xattr string
}

func (e item) String() string {
	return fmt.Sprintf("%c %q %q mode=%o uid=%d xattr=%q", e.kind, e.name, e.text, e.mode, e.uid, e.xattr)
}

// archived adds a layer of items.
func (r *remote) archived(t testing.TB, items []item) ocispec.Descriptor {
	t.Helper()
	var dt bytes.Buffer
	tw := tar.NewWriter(&dt)
	for _, e := range items {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: e.mode, Uid: e.uid, ModTime: old}
		switch e.kind {
		case tar.TypeReg:
			h.Size = int64(len(e.text))
		case tar.TypeDir:
			h.Name += "/"
		default:
			h.Linkname = e.text
		}
		if e.xattr != "" {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": e.xattr}
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := tw.Write([]byte(e.text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(dt.Bytes()), Size: int64(dt.Len())}
	r.blobs[desc.Digest] = dt.Bytes()
	return desc
}

// model is a tree as the image specification says that layers make it.
type model map[string]*item

func (m model) remove(path string) {
	for p := range m {
		if p == path || strings.HasPrefix(p, path+"/") {
			delete(m, p)
		}
	}
}

// add puts in an entry. It returns false, and does nothing, if there cannot be one.
func (m model) add(e item) bool {
	at := e
	if e.kind == tar.TypeLink {
		target := m[e.text]
		if target == nil || target.kind != tar.TypeReg || e.text == e.name || strings.HasPrefix(e.text, e.name+"/") {
			return false
		}
		at = *target
	}
	for dir := filepath.Dir(e.name); dir != "."; dir = filepath.Dir(dir) {
		if d := m[dir]; d != nil && d.kind != tar.TypeDir {
			return false
		}
	}
	for dir := filepath.Dir(e.name); dir != "."; dir = filepath.Dir(dir) {
		if m[dir] == nil {
			m[dir] = &item{kind: tar.TypeDir, mode: 0o755}
		}
	}
	if was := m[e.name]; was == nil || was.kind != tar.TypeDir || at.kind != tar.TypeDir {
		m.remove(e.name)
	}
	m[e.name] = &at
	return true
}

// hide does what a whiteout says.
func (m model) hide(e item) {
	dir, base := filepath.Split(e.name)
	if base != ".wh..wh..opq" {
		m.remove(filepath.Join(dir, strings.TrimPrefix(base, ".wh.")))
		return
	}
	dir = filepath.Clean(dir)
	for p := range m {
		if dir == "." || strings.HasPrefix(p, dir+"/") {
			delete(m, p)
		}
	}
}

func (m model) clone() model {
	c := model{}
	for p, e := range m {
		e := *e
		c[p] = &e
	}
	return c
}

// lines say what is in the tree. Without owners, modes and attributes it is rough.
func (m model) lines(rough bool) []string {
	var out []string
	for p, e := range m {
		line := fmt.Sprintf("%s %c %q", p, e.kind, e.text)
		if !rough {
			line += fmt.Sprintf(" %o %d %q", e.mode, e.uid, e.xattr)
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// readModel says what is at a directory: all that can be listed can be looked at.
func readModel(t testing.TB, root string) model {
	t.Helper()
	m := model{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		e := &item{kind: tar.TypeReg, mode: int64(st.Mode & 0o7777), uid: int(st.Uid)}
		switch d.Type() {
		case fs.ModeDir:
			e.kind = tar.TypeDir
		case fs.ModeSymlink:
			e.kind, e.mode = tar.TypeSymlink, 0o777
			e.text, err = os.Readlink(path)
		default:
			var dt []byte
			dt, err = os.ReadFile(path)
			e.text = string(dt)
		}
		value := make([]byte, 9)
		if n, err := unix.Lgetxattr(path, "user.a", value); err == nil {
			e.xattr = string(value[:n])
		}
		m[strings.TrimPrefix(path, root+"/")] = e
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return m
}

// randomLayer makes a layer to go on top of m, and puts it in. The names are few, so
// that they meet, and whiteouts stand anywhere.
func randomLayer(r *rand.Rand, m model) []item {
	names := []string{"a", "b", "c"}
	path := func() string {
		p := names[r.IntN(3)]
		for r.IntN(3) > 0 && strings.Count(p, "/") < 3 {
			p += "/" + names[r.IntN(3)]
		}
		return p
	}
	var whiteouts, entries []item
	seen := m.clone() // as it is while no whiteout was met
	for range r.IntN(4) {
		dir, base := filepath.Split(path())
		if base = ".wh." + base; r.IntN(3) == 0 {
			base = ".wh..wh..opq"
		}
		whiteouts = append(whiteouts, item{name: dir + base, kind: tar.TypeReg})
		m.hide(whiteouts[len(whiteouts)-1])
	}
	for range r.IntN(7) {
		e := item{name: path(), kind: tar.TypeReg, mode: []int64{0o644, 0o755, 0o4711}[r.IntN(3)], uid: r.IntN(3)}
		switch r.IntN(8) {
		case 0, 1, 2:
			e.kind = tar.TypeDir
		case 3:
			e.kind, e.text, e.mode = tar.TypeSymlink, "nowhere", 0o777
		case 4:
			e.kind, e.text = tar.TypeLink, path()
		default:
			e.text = fmt.Sprint(r.IntN(1000))
		}
		if e.kind == tar.TypeDir || e.kind == tar.TypeReg {
			e.xattr = []string{"", "", "1", "2"}[r.IntN(4)]
		}
		if target := m[e.text]; e.kind == tar.TypeLink && target != nil {
			e.mode, e.uid, e.xattr = target.mode, target.uid, target.xattr // as archivers do
		}
		before, after := seen.clone(), m.clone()
		if !before.add(e) || !after.add(e) {
			continue
		}
		if e.kind == tar.TypeLink && *before[e.name] != *after[e.name] {
			continue // it would be another file where the whiteout comes later
		}
		seen.add(e)
		m.add(e)
		entries = append(entries, e)
	}
	out := entries
	for _, w := range whiteouts {
		out = slices.Insert(out, r.IntN(len(out)+1), w)
	}
	return out
}

// TestRandomLayers compares what layers make with what the image specification says,
// and, roughly, with what umoci makes of the first.
func TestRandomLayers(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		for seed := range *layerSeeds {
			r := rand.New(rand.NewPCG(uint64(seed), 0))
			from, want := newRemote(), model{}
			var layers []ocispec.Descriptor
			var said []string
			for i := range 4 {
				items := randomLayer(r, want)
				layers = append(layers, from.archived(t, items))
				for _, e := range items {
					said = append(said, fmt.Sprintf("%d: %s", i, e))
				}
			}
			ref, err := s.FromLayers(context.Background(), layers, from, store.NewOptions{})
			noError(t, err)
			mounted(t, ref, true, func(dir string) {
				if got := readModel(t, dir).lines(false); !slices.Equal(got, want.lines(false)) {
					t.Errorf("seed %d: got\n%s\nwant\n%s", seed, strings.Join(got, "\n"), strings.Join(want.lines(false), "\n"))
				}
			})
			release(t, ref)
			if seed < 10 {
				if got := umoci(t, layers, from).lines(true); !slices.Equal(got, want.lines(true)) {
					t.Errorf("seed %d: umoci has\n%s\nwant\n%s", seed, strings.Join(got, "\n"), strings.Join(want.lines(true), "\n"))
				}
			}
			if t.Failed() {
				t.Fatalf("of layers\n%s", strings.Join(said, "\n"))
			}
		}
	})
}

// umoci returns what umoci unpacks of layers.
func umoci(t *testing.T, layers []ocispec.Descriptor, from *remote) model {
	t.Helper()
	testenv.Tool(t, "umoci")
	image := filepath.Join(t.TempDir(), "image")
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("umoci", args...).CombinedOutput(); err != nil {
			t.Fatalf("umoci %v: %v\n%s", args, err, out)
		}
	}
	run("init", "--layout", image)
	run("new", "--image", image+":x")
	for i, desc := range layers {
		name := filepath.Join(filepath.Dir(image), fmt.Sprint(i))
		noError(t, os.WriteFile(name, from.blobs[desc.Digest], 0o600))
		run("raw", "add-layer", "--image", image+":x", name)
	}
	rootfs := filepath.Join(filepath.Dir(image), "rootfs")
	run("raw", "unpack", "--image", image+":x", rootfs)
	return readModel(t, rootfs)
}

func f(name, text string) item { return item{name: name, text: text, kind: tar.TypeReg, mode: 0o644} }
func d(name string) item       { return item{name: name, kind: tar.TypeDir, mode: 0o755} }
func wh(name string) item      { return item{name: name, kind: tar.TypeReg} }
func ln(name, to string) item  { return item{name: name, text: to, kind: tar.TypeLink} }
func sym(name, to string) item { return item{name: name, text: to, kind: tar.TypeSymlink, mode: 0o777} }

// TestStrangeLayers: layers as squashers, kaniko and people who write archives by hand
// make them.
func TestStrangeLayers(t *testing.T) {
	tests := map[string]struct {
		layers [][]item
		want   []string
	}{
		"a whiteout of nothing":              {[][]item{{d("q"), wh("q/.wh.gone"), f("q/z", "1")}}, []string{"q/z=1"}},
		"a whiteout in no directory":         {[][]item{{wh("no/.wh.x"), wh("not/.wh..wh..opq"), f("z", "1")}}, []string{"z=1"}},
		"a whiteout below a file":            {[][]item{{f("a", "1")}, {wh("a/.wh.x"), wh("a/.wh..wh..opq")}}, []string{"a=1"}},
		"redundant ones":                     {[][]item{{d("p"), d("p/q"), f("p/q/r", "1")}, {wh("p/.wh.q"), wh("p/q/.wh.r")}}, []string{"p/"}},
		"redundant ones, the other way":      {[][]item{{d("p"), d("p/q"), f("p/q/r", "1")}, {wh("p/q/.wh.r"), wh("p/.wh.q")}}, []string{"p/"}},
		"the same twice":                     {[][]item{{f("a", "1"), f("b", "1")}, {wh(".wh.a"), wh(".wh.a")}}, []string{"b=1"}},
		"after what it does not mean":        {[][]item{{f("a", "1")}, {f("a", "2"), wh(".wh.a")}}, []string{"a=2"}},
		"after a directory":                  {[][]item{{d("a"), f("a/old", "1")}, {d("a"), f("a/new", "2"), wh(".wh.a")}}, []string{"a/", "a/new=2"}},
		"of the parent, after":               {[][]item{{d("p"), d("p/q"), f("p/q/r", "1")}, {f("p/q/s", "2"), wh(".wh.p")}}, []string{"p/", "p/q/", "p/q/s=2"}},
		"opaque, at the end":                 {[][]item{{f("d/old", "1")}, {d("d"), f("d/new", "2"), wh("d/.wh..wh..opq")}}, []string{"d/", "d/new=2"}},
		"opaque, of the root":                {[][]item{{f("d/old", "1"), f("e", "1")}, {f("new", "2"), wh(".wh..wh..opq")}}, []string{"new=2"}},
		"opaque and redundant":               {[][]item{{f("d/old", "1")}, {wh("d/.wh..wh..opq"), wh("d/.wh.old"), wh("d/.wh.none"), f("d/new", "2")}}, []string{"d/", "d/new=2"}},
		"in a directory of the layer":        {[][]item{{f("d/a", "1"), wh("d/.wh.b"), wh("d/.wh..wh..opq"), f("d/c", "1")}}, []string{"d/", "d/a=1", "d/c=1"}},
		"of AUFS":                            {[][]item{{f(".wh..wh.plnk/1.2", "x"), wh(".wh..wh.aufs"), d(".wh..wh.orph"), f("a", "1")}}, []string{"a=1"}},
		"a file for a directory":             {[][]item{{d("a"), f("a/b", "1")}, {f("a", "2")}}, []string{"a=2"}},
		"a directory for a file":             {[][]item{{f("a", "1")}, {d("a"), f("a/b", "2")}}, []string{"a/", "a/b=2"}},
		"both in one layer":                  {[][]item{{d("a"), d("a/b"), f("a/b/c", "1"), f("a", "2")}}, []string{"a=2"}},
		"a link for a directory in one":      {[][]item{{d("a"), d("a/b"), sym("a", "nowhere")}}, []string{"a->nowhere"}},
		"an entry twice":                     {[][]item{{f("a", "1"), f("a", "2"), d("d"), d("d")}}, []string{"a=2", "d/"}},
		"a hard link to what is below":       {[][]item{{f("a", "1")}, {ln("b", "a")}, {wh(".wh.a")}}, []string{"b=1"}},
		"a hard link to what is hidden next": {[][]item{{f("a", "1")}, {ln("b", "a"), wh(".wh.a")}}, []string{"b=1"}},
		"through a link to a directory":      {[][]item{{d("usr"), d("usr/lib"), sym("lib", "usr/lib")}, {f("lib/x", "1")}}, []string{"lib->usr/lib", "usr/lib/x=1"}},
		"a directory after what is in it":    {[][]item{{f("d/a", "1"), item{name: "d", kind: tar.TypeDir, mode: 0o700}}}, []string{"d/", "d/a=1"}},
		"twice hidden and back":              {[][]item{{f("a/b", "1")}, {wh(".wh.a")}, {f("a/c", "2")}, {wh("a/.wh.c"), wh("a/.wh.b")}}, []string{"a/"}},
		"no entries":                         {[][]item{{}, {f("a", "1")}, {}}, []string{"a=1"}},
	}
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				ref, err := fromItems(t, s, test.layers...)
				noError(t, err)
				mounted(t, ref, true, func(dir string) {
					var got []string
					for p, e := range readModel(t, dir) {
						switch e.kind {
						case tar.TypeDir:
							got = append(got, p+"/")
						case tar.TypeSymlink:
							got = append(got, p+"->"+e.text)
						default:
							got = append(got, p+"="+e.text)
						}
					}
					slices.Sort(got)
					if !slices.Equal(got, withDirs(test.want)) {
						t.Errorf("got %q, want %q", got, test.want)
					}
				})
				release(t, ref)
			})
		}
	})
}

// withDirs adds the directories that files are in.
func withDirs(all []string) []string {
	out := slices.Clone(all)
	for _, line := range all {
		path, _, _ := strings.Cut(line, "=")
		path, _, _ = strings.Cut(path, "->")
		for dir := filepath.Dir(strings.TrimSuffix(path, "/")); dir != "."; dir = filepath.Dir(dir) {
			out = append(out, dir+"/")
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// fromItems unpacks layers. The Ref is the caller's, if there is no error.
func fromItems(t *testing.T, s *store.Store, layers ...[]item) (*store.Ref, error) {
	t.Helper()
	from := newRemote()
	var descs []ocispec.Descriptor
	for _, items := range layers {
		descs = append(descs, from.archived(t, items))
	}
	ref, err := s.FromLayers(context.Background(), descs, from, store.NewOptions{})
	noError(t, err)
	if err := ref.Extract(context.Background()); err != nil {
		return nil, errors.Join(err, ref.Release(context.Background()))
	}
	return ref, nil
}

// TestRefusedLayers: what cannot be in a tree is an error that says where it is.
func TestRefusedLayers(t *testing.T) {
	tests := map[string]struct {
		items []item
		want  string
	}{
		"a whiteout device":    {[]item{d("a"), {name: "a/gone", kind: tar.TypeChar}}, `"a/gone" is a character device 0:0`},
		"a whiteout of no one": {[]item{d("a"), wh("a/.wh.")}, `"a/.wh.": it names no file`},
		"of itself":            {[]item{d("a"), wh("a/.wh..")}, `"a/.wh..": it names no file`},
		"of the parent":        {[]item{d("a"), wh("a/.wh...")}, `"a/.wh...": it names no file`},
		"below a whiteout":     {[]item{f(".wh.a/b", "1")}, `".wh.a/b" is below a whiteout`},
	}
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				if _, err := fromItems(t, s, test.items); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
			})
		}
	})
}

// TestAttributesOfLayers: those by which overlayfs and the machine do their work do not
// come out of layers, and those of a directory are replaced.
func TestAttributesOfLayers(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		from := newRemote()
		header := func(name string, kind byte, attrs ...string) tar.Header {
			h := tar.Header{Name: name, Typeflag: kind, PAXRecords: map[string]string{}}
			for _, a := range attrs {
				h.PAXRecords["SCHILY.xattr."+a] = "y"
			}
			return h
		}
		evil := []string{"trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.origin", "trusted.x", "user.overlay.opaque", "user.overlay.redirect", "security.selinux"}
		layers := []ocispec.Descriptor{
			from.archive(t, header("d/", tar.TypeDir, "user.old"), header("d/low", tar.TypeReg)),
			from.archive(t, header("d/", tar.TypeDir, append(evil, "user.new")...), header("d/high", tar.TypeReg, append(evil, "user.kept")...)),
		}
		ref, err := s.FromLayers(context.Background(), layers, from, store.NewOptions{})
		noError(t, err)
		top := write(t, s, ref, store.NewOptions{}, file(t, "x", "1"))
		mounted(t, top, true, func(dir string) {
			wantFile(t, dir, "d/low", "")
			for name, want := range map[string]string{"d": "user.new", "d/high": "user.kept"} {
				buf := make([]byte, 1000)
				n, err := unix.Llistxattr(filepath.Join(dir, name), buf)
				noError(t, err)
				if got := strings.TrimSuffix(string(buf[:n]), "\x00"); got != want {
					t.Errorf("%s has %q, want %q", name, got, want)
				}
			}
		})
		release(t, top, ref)
	})
}

// TestWhiteoutsByName: a file whose name would delete another is an error of the layer.
func TestWhiteoutsByName(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		base := write(t, s, nil, store.NewOptions{}, file(t, "a/x", "1"))
		for _, name := range []string{"a/.wh.x", "a/.wh..wh..opq", ".wh.d/y"} {
			for _, on := range []*store.Ref{nil, base} {
				ref := write(t, s, on, store.NewOptions{}, file(t, name, "1"))
				_, _, err := ref.Layers(context.Background(), store.LayerOptions{})
				if err == nil || !strings.Contains(err.Error(), "/"+strings.TrimSuffix(name, "/y")+" cannot be in a layer") {
					t.Errorf("%s: got %v", name, err)
				}
				release(t, ref)
			}
		}
		release(t, base)
	})
}
