package fileop_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/continuity/sysx"
	"github.com/klauspost/compress/zstd"
	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/engine/internal/bomb"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

func add(c *pb.FileActionCopy) { c.AttemptUnpackDockerCompatibility = true }

// entry is of a tar archive. A name that ends with a slash is a directory; "-> " makes
// a link and "=> " a hard link.
type entry struct{ name, what string }

func tarball(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o640, Uid: 11, Gid: 12, Typeflag: tar.TypeReg, Size: int64(len(e.what))}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o750, 0
		}
		for prefix, flag := range map[string]byte{"-> ": tar.TypeSymlink, "=> ": tar.TypeLink} {
			if target, ok := strings.CutPrefix(e.what, prefix); ok {
				h.Typeflag, h.Linkname, h.Size = flag, target, 0
			}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, e.what); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// compressed runs a program of that name, except where a library serves.
func compressed(t testing.TB, how string, dt []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	switch how {
	case "plain":
		return dt
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "zstd":
		var err error
		if w, err = zstd.NewWriter(&buf); err != nil {
			t.Fatal(err)
		}
	default:
		cmd := exec.Command(testenv.Tool(t, how))
		cmd.Stdin, cmd.Stdout = bytes.NewReader(dt), &buf
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	if _, err := w.Write(dt); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestUnpack(t *testing.T) {
	archive := tarball(t, entry{"d/", ""}, entry{"d/f", "x"}, entry{"d/l", "-> f"}, entry{"implied/g", "y"})
	const out = "drwxr-x--- 11:12 o/d\n-rw-r----- 11:12 o/d/f x\nLrwxrwxrwx 11:12 o/d/l -> f\ndrwxr-xr-x 0:0 o/implied\n-rw-r----- 11:12 o/implied/g y"
	for _, how := range []string{"plain", "gzip", "bzip2", "xz", "zstd"} {
		t.Run(how, func(t *testing.T) {
			dt := string(compressed(t, how, archive))
			from := []string{"no-suffix", dt, "link", "-> no-suffix"}
			examples(t, []example{
				{name: "add", from: from, actions: []*pb.FileAction{cp("/no-suffix", "/o", add)}, want: "drwxr-xr-x 0:0 o\n" + out},
				{name: "through a link", from: from, actions: []*pb.FileAction{cp("/link", "/o/", add)}, want: "drwxr-xr-x 0:0 o\n" + out},
				{name: "owner", from: from, actions: []*pb.FileAction{cp("/no-suffix", "/o", add, chown(byID(1), byID(2)))},
					want: strings.ReplaceAll(strings.ReplaceAll("drwxr-xr-x 0:0 o\n"+out, "11:12", "1:2"), "0:0 o\n", "1:2 o\n")},
			})
		})
	}
}

func TestWhatIsNoArchiveIsCopied(t *testing.T) {
	one := []*pb.FileAction{cp("/f", "/o", add)}
	examples(t, []example{
		{name: "text", from: []string{"f", "hello"}, actions: one, want: "-rw-r--r-- 0:0 o hello"},
		{name: "nothing", from: []string{"f", ""}, actions: one, want: "-rw-r--r-- 0:0 o "},
		{name: "gzip of no archive", from: []string{"f", "\x1f\x8b\x08"}, actions: one, want: "-rw-r--r-- 0:0 o \x1f\x8b\x08"},
		{name: "a directory", from: []string{"f/g", "x"}, actions: one, want: "drwxr-xr-x 0:0 o\n-rw-r--r-- 0:0 o/g x"},
		{name: "missing", from: []string{"g", "x"}, actions: one, fails: `"/f": not found`},
	})
}

func TestBadArchives(t *testing.T) {
	one := []*pb.FileAction{cp("/f", "/o", add)}
	bad := func(entries ...entry) []string { return []string{"f", string(tarball(t, entries...))} }
	whole := tarball(t, entry{"a", "x"}, entry{"b", strings.Repeat("y", 5000)})
	examples(t, []example{
		{name: "climbing", from: bad(entry{"../x", "x"}), actions: one, want: "drwxr-xr-x 0:0 o\n-rw-r----- 11:12 o/x x"},
		{name: "climbing from below", from: bad(entry{"a/../../x", "x"}), actions: one, want: "drwxr-xr-x 0:0 o\n-rw-r----- 11:12 o/x x"},
		{name: "a link's target", from: bad(entry{"l", "=> ../../etc/passwd"}), actions: one, fails: `unpacking "/f": `},
		{name: "cut off", from: []string{"f", string(whole[:2500])}, actions: one, fails: "unexpected EOF"},
		{name: "garbage after an entry", from: []string{"f", string(whole[:1024]) + strings.Repeat("z", 1024)}, actions: one, fails: "invalid tar header"},
	})
}

// Links, of the archive or of the tree before, do not lead out of the destination.
func TestUnpackDoesNotClimb(t *testing.T) {
	outside := t.TempDir()
	up := "../../../../../../../../.." + outside
	w := newWorld(t)
	for name, entries := range map[string][]entry{
		"a link of the archive": {{"l", "-> " + outside}, {"l/x", "x"}},
		"a relative one":        {{"l", "-> " + up}, {"l/x", "x"}},
		"a link of the tree":    {{"there/x", "x"}},
	} {
		base := w.tree(w.files("o/there", "-> "+up))
		// It may be refused, or end inside.
		_, err := w.run(w.ctx, chain(2, cp("/f", "/o", add)), base, w.tree(w.files("f", string(tarball(t, entries...)))))
		t.Logf("%s: %v", name, err)
		if files, err := os.ReadDir(outside); err != nil || len(files) != 0 {
			t.Fatalf("%s: outside there is %v, %v", name, files, err)
		}
	}
}

// cutOff is the beginning of an archive of one file.
func cutOff(t *testing.T) string {
	t.Helper()
	var buf bytes.Buffer
	z, err := zstd.NewWriter(&buf, zstd.WithWindowSize(zstd.MaxWindowSize/8))
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "bomb", Mode: 0o600, Size: 128 << 20}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 64<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// A file that there is no room for is refused before anything of it is written.
func TestNoRoom(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		dt   []byte
		says string
	}{
		"a petabyte":            {bomb.Cut(tar.Header{Name: "huge", Size: 1 << 50}), `the file "huge" of 1PiB is not written: `},
		"a hole of an exabyte":  {bomb.Holes(1 << 60), `the file "bomb" of 1EiB is not written: `},
		"a path without an end": {append(bomb.Cut(tar.Header{Name: strings.Repeat("a/", 1<<18) + "f"}), make([]byte, 1024)...), "a path or a link of 524289 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, how := range []string{"plain", "gzip", "xz", "zstd"} {
				from := w.tree(w.files("f", string(compressed(t, how, c.dt))))
				_, err := w.run(w.ctx, chain(2, cp("/f", "/d", add)), w.tree(w.files()), from)
				check.Says(t, err, c.says)
			}
		})
	}
}

// An archive that is cut off, and one whose unpacking is cancelled, leave nothing.
func TestUnpackingStops(t *testing.T) {
	w := newWorld(t)
	from := w.tree(w.files("f", cutOff(t)))
	actions := chain(2, cp("/f", "/o", add))
	if _, err := w.run(w.ctx, actions, w.tree(w.files()), from); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("cut off: %v", err)
	}
	stop := errors.New("stop")
	if _, err := w.run(stopAfter(w.ctx, 200, stop), actions, w.tree(w.files()), from); !errors.Is(err, stop) {
		t.Errorf("cancelled: %v", err)
	}
	// A file that is all hole: nothing of the archive is read for it.
	from = w.tree(w.files("f", string(bomb.Holes(1<<31))))
	if _, err := w.run(stopAfter(w.ctx, 200, stop), actions, w.tree(w.files()), from); !errors.Is(err, stop) {
		t.Errorf("with holes: %v", err)
	}
	err := filepath.WalkDir(w.store.Path(), func(p string, d iofs.DirEntry, err error) error {
		if err == nil && d.Name() == "bomb" {
			t.Errorf("left behind: %s", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// stopping is a context that ends when it has been asked some times.
type stopping struct {
	context.Context
	after atomic.Int32
	with  error
}

func stopAfter(ctx context.Context, n int32, with error) *stopping {
	s := &stopping{Context: ctx, with: with}
	s.after.Store(n)
	return s
}

func (s *stopping) Err() error {
	if s.after.Add(-1) < 0 {
		return s.with
	}
	return nil
}

// What an archive says of overlayfs is not taken for what overlayfs says, and neither is
// a device that stands for a deleted file there.
func TestUnpackedArchivesSayNothingOfOverlayfs(t *testing.T) {
	archive := func(h *tar.Header) string {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		if err := errors.Join(w.WriteHeader(h), w.Close()); err != nil {
			t.Fatal(err)
		}
		return buf.String()
	}
	evil := &tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755, PAXRecords: map[string]string{}}
	for _, name := range []string{"trusted.overlay.redirect", "trusted.overlay.metacopy", "trusted.overlay.opaque", "trusted.overlay.origin", "trusted.x", "user.overlay.opaque", "user.overlay.redirect", "user.kept"} {
		evil.PAXRecords["SCHILY.xattr."+name] = "/elsewhere"
	}
	w := newWorld(t)
	actions := chain(2, cp("/f", "/o", add))
	lone, below := w.tree(w.files()), w.tree(w.files("o/d/f", "x", "elsewhere/g", "y"))
	for _, base := range []*store.Ref{nil, lone, below} {
		outs, err := w.run(w.ctx, actions, base, w.tree(w.files("f", archive(evil))))
		if err != nil {
			t.Fatal(err)
		}
		w.mounted(outs[0], true, func(dir string) {
			names, err := sysx.LListxattr(filepath.Join(dir, "o/d"))
			if err != nil || len(names) != 1 || names[0] != "user.kept" {
				t.Errorf("it has %q (%v)", names, err)
			}
			if base == below {
				if _, err := os.Lstat(filepath.Join(dir, "o/d/f")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	device := archive(&tar.Header{Name: "there", Typeflag: tar.TypeChar})
	for _, base := range []*store.Ref{lone, w.tree(w.files("o/there", "x"))} {
		_, err := w.run(w.ctx, actions, base, w.tree(w.files("f", device)))
		if err == nil || !strings.Contains(err.Error(), `"there" is a character device 0:0`) {
			t.Errorf("got %v", err)
		}
	}
}

// In an archive that is no layer the names of whiteouts are names.
func TestUnpackedArchivesHaveNoWhiteouts(t *testing.T) {
	dt := string(tarball(t, entry{".wh.a", "x"}, entry{"d/", ""}, entry{"d/.wh..wh..opq", ""}))
	examples(t, []example{{name: "as files", base: []string{"o/a", "1"}, from: []string{"f", dt}, actions: []*pb.FileAction{cp("/f", "/o", add)},
		want: "drwxr-xr-x 0:0 o\n-rw-r----- 11:12 o/.wh.a x\n-rw-r--r-- 0:0 o/a 1\ndrwxr-x--- 11:12 o/d\n-rw-r----- 11:12 o/d/.wh..wh..opq "}})
}
