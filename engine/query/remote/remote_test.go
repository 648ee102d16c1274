package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/images"
	"github.com/tenonbuild/tenon/engine/query"
	"github.com/tenonbuild/tenon/engine/query/remote"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// fake answers what it is told to.
type fake struct {
	usage  store.Usage
	images []*images.Image
	err    error
	save   func(io.Writer) error
	asked  query.SaveRequest

	changes []string
}

func (f *fake) Usage(context.Context) (*store.Usage, error)     { return &f.usage, f.err }
func (f *fake) Images(context.Context) ([]*images.Image, error) { return f.images, f.err }
func (f *fake) Save(_ context.Context, req query.SaveRequest) (func(io.Writer) error, error) {
	f.asked = req
	return f.save, f.err
}

// changes are those that were asked for.
func (f *fake) Tag(_ context.Context, ref, name string) error {
	f.changes = append(f.changes, "tag "+ref+" "+name)
	return f.err
}
func (f *fake) Remove(_ context.Context, refs []string, force bool) ([]images.Removed, error) {
	f.changes = append(f.changes, fmt.Sprint("remove ", refs, force))
	return []images.Removed{{Names: refs}}, f.err
}
func (f *fake) Prune(_ context.Context, opt images.PruneOptions) ([]images.Removed, error) {
	f.changes = append(f.changes, fmt.Sprint("prune ", opt.Until))
	return nil, f.err
}
func (f *fake) LoadLayout(_ context.Context, dir string) ([]images.Loaded, error) {
	f.changes = append(f.changes, "layout "+dir)
	return []images.Loaded{{Name: "x"}}, f.err
}
func (f *fake) LoadArchive(_ context.Context, r io.Reader) ([]images.Loaded, error) {
	dt, err := io.ReadAll(r)
	f.changes = append(f.changes, fmt.Sprint("archive ", len(dt)))
	return []images.Loaded{{Name: "y"}}, errors.Join(err, f.err)
}

func listen(t *testing.T, dir string, r query.Root) *remote.Server {
	t.Helper()
	s, err := remote.Listen(dir, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
	return s
}

// What is asked from another process is what its owner would say. The path may be
// longer than that of a socket, and a socket that was left is no hindrance.
func TestAsk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 50), "questions")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fake{usage: store.Usage{Total: 7, Records: []store.UsageInfo{{ID: "a", Size: 5}}}, images: []*images.Image{{Names: []string{"docker.io/library/app:1"}, Size: 3}}}
	f.save = func(w io.Writer) error { _, err := io.WriteString(w, "an archive"); return err }
	listen(t, dir, f)
	ask := remote.Ask(dir)
	u, err := ask.Usage(t.Context())
	if err != nil || !reflect.DeepEqual(*u, f.usage) {
		t.Errorf("%+v, %v", u, err)
	}
	list, err := ask.Images(t.Context())
	if err != nil || !reflect.DeepEqual(list, f.images) {
		t.Errorf("%+v, %v", list, err)
	}
	req := query.SaveRequest{Images: []string{"app"}, SaveOptions: images.SaveOptions{Format: images.FormatOCI}}
	write, err := ask.Save(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := write(&b); err != nil || b.String() != "an archive" || !reflect.DeepEqual(f.asked, req) {
		t.Errorf("%q, %v; asked %+v", b.String(), err, f.asked)
	}
	// Errors are the owner's.
	f.err = fmt.Errorf("there is no such image: %w", errdefs.ErrNotFound)
	if _, err := ask.Images(t.Context()); !errors.Is(err, errdefs.ErrNotFound) || errors.Is(err, remote.ErrGone) || err.Error() != f.err.Error() {
		t.Errorf("got %v", err)
	}
	if _, err := ask.Save(t.Context(), req); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	f.err = nil
	f.save = func(w io.Writer) error { _, _ = io.WriteString(w, "half"); return errors.New("broken \x1b") }
	if write, err = ask.Save(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if err := write(io.Discard); err == nil || !strings.Contains(err.Error(), `not whole: "broken \x1b"`) {
		t.Errorf("got %v", err)
	}
}

// Changes are made once, by the owner, and what was done is told with an error, too.
func TestChange(t *testing.T) {
	dir := t.TempDir()
	f := &fake{}
	listen(t, dir, f)
	ask := remote.Ask(dir)
	for _, failing := range []error{nil, fmt.Errorf("no such image: %w", errdefs.ErrNotFound)} {
		f.err, f.changes = failing, nil
		same := func(what string, err error) {
			t.Helper()
			if (err == nil) != (failing == nil) || err != nil && (err.Error() != failing.Error() || !errors.Is(err, errdefs.ErrNotFound)) {
				t.Errorf("%s: %v", what, err)
			}
		}
		same("tag", ask.Tag(t.Context(), "a", "b"))
		gone, err := ask.Remove(t.Context(), []string{"c", "d"}, true)
		same("remove", err)
		if len(gone) != 1 || len(gone[0].Names) != 2 {
			t.Errorf("removed %v", gone)
		}
		_, err = ask.Prune(t.Context(), images.PruneOptions{Until: time.Hour})
		same("prune", err)
		in, err := ask.LoadLayout(t.Context(), "/lay")
		same("layout", err)
		if len(in) != 1 || in[0].Name != "x" {
			t.Errorf("loaded %v", in)
		}
		in, err = ask.LoadArchive(t.Context(), io.LimitReader(zeros{}, 3<<20))
		same("archive", err)
		if len(in) != 1 || in[0].Name != "y" {
			t.Errorf("loaded %v", in)
		}
		want := []string{"tag a b", "remove [c d] true", "prune 1h0m0s", "layout /lay", "archive 3145728"}
		if !reflect.DeepEqual(f.changes, want) {
			t.Errorf("%q", f.changes)
		}
	}
	// Where it is not known whether a change was made, nobody is to try again.
	if err := remote.Ask(t.TempDir()).Tag(t.Context(), "a", "b"); !errors.Is(err, remote.ErrGone) {
		t.Errorf("nobody there: %v", err)
	}
	const begun = "HTTP/1.1 100 Continue\r\n\r\n"
	for answer, known := range map[string]bool{
		"": true, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n": true,
		begun: false, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{": false,
		begun + "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n": false,
	} {
		dir := t.TempDir()
		raw(t, dir, answer)
		err := remote.Ask(dir).Tag(t.Context(), "a", "b")
		if errors.Is(err, remote.ErrGone) != known || !known && !strings.Contains(err.Error(), "not known") {
			t.Errorf("%q: %v", answer, err)
		}
		archive := &reads{}
		if _, err := remote.Ask(dir).LoadArchive(t.Context(), archive); errors.Is(err, remote.ErrGone) != known || known && archive.n > 0 {
			t.Errorf("%q: %v; %d bytes of the archive were read", answer, err, archive.n)
		}
	}
}

// reads is an archive that counts what is read of it.
type reads struct{ n int }

func (r *reads) Read(p []byte) (int, error) {
	r.n += len(p)
	return len(p), nil
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// An owner that does not answer, answers something else or dies is one that has gone.
func TestGone(t *testing.T) {
	gone := func(dir, what string) {
		t.Helper()
		if _, err := remote.Ask(dir).Usage(t.Context()); !errors.Is(err, remote.ErrGone) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := remote.Ask(dir).Save(t.Context(), query.SaveRequest{}); !errors.Is(err, remote.ErrGone) {
			t.Errorf("%s: %v", what, err)
		}
	}
	gone(filepath.Join(t.TempDir(), "none"), "no folder")
	gone(t.TempDir(), "no socket")
	for _, answer := range []string{
		"", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK", "nonsense\r\n\r\n",
		"HTTP/1.1 422 Unprocessable\r\nContent-Length: 1\r\n\r\n{",
	} {
		dir := t.TempDir()
		l := raw(t, dir, answer)
		gone(dir, fmt.Sprintf("%q", answer))
		_ = l.Close()
	}
	// In the midst of an answer.
	dir := t.TempDir()
	raw(t, dir, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"Total\":")
	if _, err := remote.Ask(dir).Usage(t.Context()); !errors.Is(err, remote.ErrGone) {
		t.Errorf("half an answer: %v", err)
	}
	dir = t.TempDir()
	raw(t, dir, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Tenon-Status\r\n\r\n4\r\nhalf\r\n0\r\n\r\n")
	write, err := remote.Ask(dir).Save(t.Context(), query.SaveRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if err := write(io.Discard); err == nil || errors.Is(err, remote.ErrGone) || !strings.Contains(err.Error(), "not whole") {
		t.Errorf("half an archive: %v", err)
	}
	// One that never answers is waited for as long as the caller likes.
	ctx, cancel := context.WithCancelCause(t.Context())
	dir = t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	enough := errors.New("enough")
	go func() {
		conn, err := l.Accept()
		cancel(enough)
		if err == nil {
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	if _, err := remote.Ask(dir).Usage(ctx); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

// raw answers every request with some bytes.
func raw(t *testing.T, dir, answer string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1<<16))
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}()
	return l
}

// Another user gets no answer, even where he can reach the socket.
func TestAnotherUser(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	listen(t, dir, &fake{})
	sock := filepath.Join(dir, "sock")
	if fi, err := os.Stat(sock); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", fi.Mode(), err)
	}
	for _, path := range []string{dir, filepath.Dir(dir), filepath.Dir(filepath.Dir(dir)), sock} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for uid, want := range map[int]bool{0: true, 65534: false} {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with this
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
				done <- e
				return
			}
			done <- speak(sock)
		}()
		if err := <-done; (err == nil) != want {
			t.Errorf("user %d: %v", uid, err)
		}
	}
	// Who does not let others in does not keep them out by asking much.
	for range 100 {
		conn, err := net.Dial("unix", sock)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
}

// speak asks by system calls, which are made by the thread that it is called on.
func speak(sock string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: sock}); err != nil {
		return err
	}
	if _, err := unix.Write(fd, []byte("GET /v1/usage HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		return err
	}
	n, err := unix.Read(fd, make([]byte, 100))
	if err == nil && n == 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}
