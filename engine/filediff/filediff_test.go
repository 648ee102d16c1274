package filediff_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenonbuild/tenon/engine/filediff"
	"github.com/tenonbuild/tenon/internal/check"
)

func inMemory(data string) filediff.File {
	return filediff.File{Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(data)), nil }}
}

func onDisk(t *testing.T, data string) filediff.File {
	path := filepath.Join(t.TempDir(), "f")
	check.OK(t, os.WriteFile(path, []byte(data), 0o600))
	return filediff.File{Open: func() (io.ReadCloser, error) { return os.Open(path) }}
}

// lines are what is said of two files, which is the same wherever they are.
func lines(t *testing.T, old, new string, opt filediff.Options) string {
	t.Helper()
	var said [2]string
	for i, pair := range [][2]filediff.File{{inMemory(old), inMemory(new)}, {onDisk(t, old), onDisk(t, new)}} {
		d, err := filediff.Compare(t.Context(), pair[0], pair[1], opt)
		check.OK(t, err)
		var all []string
		for _, f := range d.Findings {
			all = append(all, f.String())
		}
		if d.Incomplete != "" {
			all = append(all, d.Incomplete)
		}
		said[i] = strings.Join(all, "\n")
	}
	check.Equal(t, "on a disk", said[1], said[0])
	return said[0]
}

// entry is a member of an archive that the tests make.
type entry struct {
	name, data string
	at         int64
	mode       int64
}

func tarOf(t *testing.T, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: tar.TypeReg, Size: int64(len(e.data)), Mode: 0o644 + e.mode, ModTime: time.Unix(e.at, 0)}
		if target, ok := strings.CutPrefix(e.data, "->"); ok {
			h.Typeflag, h.Size, h.Linkname, e.data = tar.TypeSymlink, 0, target, ""
		}
		check.OK(t, w.WriteHeader(h))
		_, err := io.WriteString(w, e.data)
		check.OK(t, err)
	}
	check.OK(t, w.Close())
	return b.String()
}

func gzipOf(t *testing.T, data string, at int64, level int) string {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	check.OK(t, err)
	if at > 0 {
		w.ModTime = time.Unix(at, 0)
	}
	_, err = io.WriteString(w, data)
	check.OK(t, errors.Join(err, w.Close()))
	return b.String()
}

func zipOf(t *testing.T, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		f, err := w.CreateHeader(&zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: time.Unix(1e9+e.at, 0).UTC()})
		check.OK(t, err)
		_, err = io.WriteString(f, e.data)
		check.OK(t, err)
	}
	check.OK(t, w.Close())
	return b.String()
}

func TestWords(t *testing.T) {
	long := strings.Repeat("é", 300)
	for _, c := range []struct{ name, old, new, want string }{
		{"equal", "a", "a", ""},
		{"empty", "", "", ""},
		{"a line", "one\ntwo\nthree\n", "one\nTwO\nthree\n", "from byte 4 (line 2), 2 bytes differ\n- two\n+ TwO"},
		{"of another size", "one\n12\n", "one\n3\n", "from byte 4 (line 2) on\n- 12\n+ 3"},
		{"longer", "one\n", "one\ntwo\n", "4 → 8 bytes, the same up to byte 4"},
		{"from nothing", "", "one\n", "0 → 4 bytes, the same up to byte 0"},
		{"bytes", "\x00\x01\x02", "\x00\x05\x02", "from byte 1, 1 byte differs"},
		{"far in a line", long + "a", long + "b", "from byte 600 (line 1), 1 byte differs\n- …" + strings.Repeat("é", 30) + "a\n+ …" + strings.Repeat("é", 30) + "b"},
		{"a terminal", "a\x1b[31m", "b\x1b[31m", "from byte 0 (line 1), 1 byte differs\n- a\\u001b[31m\n+ b\\u001b[31m"},
		{"noise", "a\xff\xfe\xfd\xfc\xfb\xfa", "b\xff\xfe\xfd\xfc\xfb\xfa", "from byte 0, 1 byte differs"},
		{"far", strings.Repeat("\n", 1<<20) + "a", strings.Repeat("\n", 1<<20) + "b", "from byte 1,048,576 (line 1,048,577), 1 byte differs\n- a\n+ b"},

		{"time in a tar", tarOf(t, entry{name: "a", at: 5}), tarOf(t, entry{name: "a", at: 6}), "a: time 1970-01-01T00:00:05Z → 1970-01-01T00:00:06Z"},
		{
			"bytes and mode in a tar", tarOf(t, entry{name: "x"}, entry{name: "a\n", data: "12\n45"}), tarOf(t, entry{name: "x"}, entry{name: "a\n", data: "12\n46", mode: 1}),
			"a\\u000a: mode 0644 → 0645\na\\u000a: from byte 4 (line 2), 1 byte differs\n- 45\n+ 46",
		},
		{"a link in a tar", tarOf(t, entry{name: "a", data: "->x"}), tarOf(t, entry{name: "a", data: "->y"}), "a: target x → y"},
		{"members", tarOf(t, entry{name: "a"}, entry{name: "b"}), tarOf(t, entry{name: "b"}, entry{name: "c"}), "a: removed\nc: added"},
		{"order", tarOf(t, entry{name: "a"}, entry{name: "b"}), tarOf(t, entry{name: "b"}, entry{name: "a"}), "the order of members: b where a was"},
		{"a name twice", tarOf(t, entry{name: "a", data: "1"}, entry{name: "a", data: "2"}), tarOf(t, entry{name: "a", data: "1"}, entry{name: "a", data: "3"}), "a: from byte 0 (line 1), 1 byte differs\n- 2\n+ 3"},
		{"after a tar's end", tarOf(t, entry{name: "a"}) + "\x00x", tarOf(t, entry{name: "a"}) + "\x00y", "from byte 1,537, 1 byte differs"},
		{"no tar", tarOf(t, entry{name: "a"})[:300], tarOf(t, entry{name: "b"})[:300], "from byte 0, 2 bytes differ"},

		{"time in a gzip", gzipOf(t, "a", 0, 6), gzipOf(t, "a", 5, 6), "time none → 1970-01-01T00:00:05Z"},
		{"in a gzip", gzipOf(t, "ab", 0, 6), gzipOf(t, "ac", 0, 6), "(unpacked): from byte 1 (line 1), 1 byte differs\n- ab\n+ ac"},
		{"another compression", gzipOf(t, long, 0, 1), gzipOf(t, long, 0, 0), "the same content, compressed in another way"},
		{
			"a tar in a gzip", gzipOf(t, tarOf(t, entry{name: "a", at: 5}), 1, 6), gzipOf(t, tarOf(t, entry{name: "a", at: 6}), 2, 6),
			"time 1970-01-01T00:00:01Z → 1970-01-01T00:00:02Z\n(unpacked) > a: time 1970-01-01T00:00:05Z → 1970-01-01T00:00:06Z",
		},
		{"cut off", gzipOf(t, long, 0, 6)[:20], gzipOf(t, long, 0, 0)[:20], "from byte 10, 10 bytes differ"},

		{"time in a zip", zipOf(t, entry{name: "a", at: 2}), zipOf(t, entry{name: "a", at: 4}), "a: time 2001-09-09T01:46:42Z → 2001-09-09T01:46:44Z"},
		{"in a zip", zipOf(t, entry{name: "a", data: "1"}), zipOf(t, entry{name: "a", data: "2"}), "a: from byte 0 (line 1), 1 byte differs\n- 1\n+ 2"},
		{
			"a zip in a zip", zipOf(t, entry{name: "a", data: zipOf(t, entry{name: "b", data: "1"})}), zipOf(t, entry{name: "a", data: zipOf(t, entry{name: "b", data: "2"})}),
			"a > b: from byte 0 (line 1), 1 byte differs\n- 1\n+ 2",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := lines(t, c.old, c.new, filediff.Options{}); got != c.want {
				t.Errorf("%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestNoText(t *testing.T) {
	check.Equal(t, "words", lines(t, "a\nsecret1", "a\nsecret2", filediff.Options{NoText: true}), "from byte 8 (line 2), 1 byte differs")
}

func TestJSON(t *testing.T) {
	d, err := filediff.Compare(t.Context(), inMemory(tarOf(t, entry{name: "a", data: "1"})), inMemory(tarOf(t, entry{name: "a", data: "2", at: 1})), filediff.Options{})
	check.OK(t, err)
	dt, err := json.Marshal(d)
	check.OK(t, err)
	check.Equal(t, "JSON", string(dt), `{"findings":[{"members":["a"],"kind":"header","field":"time","old":"1970-01-01T00:00:00Z","new":"1970-01-01T00:00:01Z"},{"members":["a"],"kind":"bytes","old":"1","new":"2","count":1,"line":1}]}`)
}

// What is made to be too much is not read to its end.
func TestBombs(t *testing.T) {
	zeros := strings.Repeat("\x00", 1<<20)
	bomb := func(end string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		for range 30 {
			_, err := io.WriteString(w, zeros)
			check.OK(t, err)
		}
		_, err := io.WriteString(w, end)
		check.OK(t, errors.Join(err, w.Close()))
		return b.String()
	}
	if got := lines(t, bomb("a"), bomb("b"), filediff.Options{Budget: filediff.NewBudget(20 << 20)}); !strings.Contains(got, "not looked at") {
		t.Error(got)
	}
	name := strings.Repeat("n", 1<<19)
	var named []entry
	for range 40 {
		named = append(named, entry{name: name})
	}
	if got := lines(t, tarOf(t, named...)+"a", tarOf(t, named...)+"b", filediff.Options{}); !strings.HasPrefix(got, "from byte ") {
		t.Error(got[:min(len(got), 1000)])
	}
	if got := lines(t, tarOf(t, named[0]), tarOf(t, entry{name: name, at: 1}), filediff.Options{}); len(got) > 5000 || !strings.Contains(got, "nn…: time ") {
		t.Error(got[:min(len(got), 1000)])
	}
	var many []entry
	for range 40 {
		many = append(many, entry{name: "a", at: 1}, entry{name: "b"})
	}
	later := append([]entry(nil), many...)
	for i := range later {
		later[i].at += 7
	}
	d, err := filediff.Compare(t.Context(), inMemory(tarOf(t, many...)), inMemory(tarOf(t, later...)), filediff.Options{})
	check.OK(t, err)
	if len(d.Findings) != 20 || d.LeftOut != 60 {
		t.Errorf("%d findings, %d left out", len(d.Findings), d.LeftOut)
	}
	nested := func(data string) string {
		for range 10 {
			data = gzipOf(t, data, 0, 6)
		}
		return data
	}
	if got := lines(t, nested("a"), nested("b"), filediff.Options{}); strings.Count(got, "(unpacked)") != 4 {
		t.Error(got)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	endless := filediff.File{Open: func() (io.ReadCloser, error) { return io.NopCloser(&zeros{cancel: cancel}), nil }}
	if _, err := filediff.Compare(ctx, endless, endless, filediff.Options{}); !errors.Is(err, io.ErrNoProgress) {
		t.Error(err)
	}
}

// zeros has no end, and ends the context at some time.
type zeros struct {
	n      int
	cancel context.CancelCauseFunc
}

func (z *zeros) Read(p []byte) (int, error) {
	if z.n++; z.n == 100 {
		z.cancel(io.ErrNoProgress)
	}
	clear(p)
	return len(p), nil
}

func FuzzCompare(f *testing.F) {
	t := &testing.T{}
	f.Add([]byte(tarOf(t, entry{name: "a", data: "1"})), []byte(tarOf(t, entry{name: "a", data: "2"})))
	f.Add([]byte(zipOf(t, entry{name: "a", data: "1"})), []byte(zipOf(t, entry{name: "a", data: "2"})))
	f.Add([]byte(gzipOf(t, tarOf(t, entry{name: "a"}), 5, 6)), []byte(gzipOf(t, tarOf(t, entry{name: "a"}), 6, 6)))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		d, err := filediff.Compare(t.Context(), inMemory(string(a)), inMemory(string(b)), filediff.Options{Budget: filediff.NewBudget(4 << 20)})
		if err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(a, b); same && len(d.Findings) > 0 || !same && len(d.Findings) == 0 && d.Incomplete == "" {
			t.Errorf("%v", d)
		}
		for _, f := range d.Findings {
			if strings.ContainsAny(f.String(), "\x1b\x07") {
				t.Errorf("%q", f.String())
			}
		}
	})
}
