package serve_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	bksession "github.com/moby/buildkit/session"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"

	"github.com/tenonbuild/tenon/engine/cachesign"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/local"
	"github.com/tenonbuild/tenon/engine/session/remote"
	"github.com/tenonbuild/tenon/engine/session/serve"
	"github.com/tenonbuild/tenon/internal/check"
)

// agent is a session with an SSH agent that says back what it is told.
type agent struct{ session.Session }

func (a agent) SSH(_ context.Context, id string) (net.Conn, error) {
	if id != "echo" {
		return nil, session.ErrNotFound
	}
	here, there := net.Pipe()
	go func() { io.Copy(there, there) }() //nolint:errcheck // ends with the test
	return here, nil
}

func (a agent) SignCache(ctx context.Context, key string, statement []byte) ([]byte, error) {
	return a.Session.(session.CacheSigner).SignCache(ctx, key, statement)
}

func (agent) Credentials(_ context.Context, host, _ string) (session.Credentials, error) {
	if host != "known.example" {
		return session.Credentials{}, nil
	}
	return session.Credentials{Username: "u", Secret: "s"}, nil
}

// served lends s over a connection, and returns how the other end sees it.
func served(t *testing.T, s session.Session, stores map[string]content.Store, outs map[int]serve.Output) *remote.Session {
	t.Helper()
	var all session.Sessions
	bk, err := bksession.NewSession(t.Context(), "key")
	check.OK(t, err)
	serve.Attach(bk, s, stores)
	serve.AttachOutputs(bk, outs)
	var running sync.WaitGroup
	running.Go(func() {
		err := bk.Run(t.Context(), func(ctx context.Context, _ string, header map[string][]string) (net.Conn, error) {
			here, there := net.Pipe()
			running.Go(func() { remote.Serve(ctx, there, header, "client", &all) }) //nolint:errcheck // it ends with the other end
			return here, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		check.OK(t, bk.Close())
		running.Wait()
	})
	x, err := all.Wait(t.Context(), bk.ID())
	check.OK(t, err)
	return x.(*remote.Session)
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	check.OK(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check.OK(t, os.WriteFile(path, []byte(text), mode))
}

// arrival is what has come of a directory. It implements session.Arrival.
type arrival struct {
	entries []string
	files   map[string]*file
}

func (*arrival) Bytes(int) {}

func (a *arrival) Entry(st *types.Stat) (io.WriteCloser, error) {
	a.entries = append(a.entries, st.Path)
	if !fs.FileMode(st.Mode).IsRegular() || st.Path == "not wanted" {
		return nil, nil
	}
	a.files[st.Path] = &file{}
	return a.files[st.Path], nil
}

// What a session lends arrives at the other end, and that it lacks something does, too.
func TestLend(t *testing.T) {
	dir, layout := t.TempDir(), t.TempDir()
	write(t, dir+"/a", "text", 0o644)
	write(t, dir+"/secret", "word", 0o600)
	write(t, dir+"/é", "excluded", 0o644)
	write(t, dir+"/d/empty", "", 0o644)
	write(t, dir+"/not wanted", "text", 0o644)
	blob := digest.FromString("blob")
	write(t, layout+"/oci-layout", `{"imageLayoutVersion":"1.0.0"}`, 0o644)
	write(t, layout+"/blobs/sha256/"+blob.Encoded(), "blob", 0o644)
	secret, err := local.ParseSecret("id=s,src=" + dir + "/secret")
	check.OK(t, err)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	check.OK(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	check.OK(t, err)
	key, err := cachesign.ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil)
	check.OK(t, err)
	here, err := local.New(t.Context(), local.Options{
		CacheKeys: map[string]*cachesign.Key{"k": key}, Dirs: map[string]string{"context": dir}, Secrets: []local.Secret{secret}, Layouts: map[string]string{"l": layout},
	})
	check.OK(t, err)
	store, err := here.Layout(t.Context(), "l")
	check.OK(t, err)
	there := served(t, agent{here}, map[string]content.Store{serve.Layout("l"): store}, nil)

	got, err := there.Secret(t.Context(), "s")
	check.OK(t, err)
	check.Equal(t, "secret", string(got), "word")
	_, err = there.Secret(t.Context(), "none")
	check.Equal(t, "no secret", errors.Is(err, session.ErrNotFound), true)

	c, err := there.Credentials(t.Context(), "known.example", "app")
	check.OK(t, err)
	check.Equal(t, "credentials", c, session.Credentials{Username: "u", Secret: "s"})
	c, err = there.Credentials(t.Context(), "other.example", "app")
	check.OK(t, err)
	check.Equal(t, "no credentials", c, session.Credentials{})

	_, err = there.SignCache(t.Context(), "none", nil)
	check.Equal(t, "no key", errors.Is(err, session.ErrNotFound), true)
	statement, err := cachesign.Statement(ocispec.Descriptor{}, nil)
	check.OK(t, err)
	signed, err := there.SignCache(t.Context(), "k", statement)
	check.OK(t, err)
	want, err := key.Sign(statement)
	check.OK(t, err)
	check.Equal(t, "signature", string(signed), string(want))
	_, err = there.SignCache(t.Context(), "k", []byte("something else"))
	check.Says(t, err, "only caches are signed")

	conn, err := there.SSH(t.Context(), "echo")
	check.OK(t, err)
	_, err = conn.Write([]byte("hello"))
	check.OK(t, err)
	said := make([]byte, 5)
	_, err = io.ReadFull(conn, said)
	check.OK(t, err)
	check.Equal(t, "agent", string(said), "hello")
	check.OK(t, conn.Close())
	_, err = there.SSH(t.Context(), "none")
	check.Equal(t, "no agent", errors.Is(err, session.ErrNotFound), true)

	l, err := there.Layout(t.Context(), "l")
	check.OK(t, err)
	dt, err := content.ReadBlob(t.Context(), l, ocispec.Descriptor{Digest: blob, Size: 4})
	check.OK(t, err)
	check.Equal(t, "blob", string(dt), "blob")

	d, err := there.Dir(t.Context(), "context")
	check.OK(t, err)
	come := arrival{files: map[string]*file{}}
	check.OK(t, d.Sync.From(t.Context(), session.SyncFilter{Exclude: []string{"secret", "é"}}, &come))
	check.Equal(t, "entries", fmt.Sprint(come.entries), "[a d d/empty not wanted]")
	for name, want := range map[string]string{"a": "text", "d/empty": ""} {
		check.Equal(t, name, string(come.files[name].text), want)
		check.Equal(t, name+" is whole", come.files[name].closed, true)
	}
	d, err = there.Dir(t.Context(), "none")
	check.OK(t, err)
	check.Equal(t, "no directory", errors.Is(d.Sync.From(t.Context(), session.SyncFilter{}, &come), session.ErrNotFound), true)
}

// file is a file that remembers how it ended.
type file struct {
	text              []byte
	closed, discarded bool
}

func (f *file) Write(p []byte) (int, error) {
	f.text = append(f.text, p...)
	return len(p), nil
}
func (f *file) Close() error   { f.closed = true; return nil }
func (f *file) Discard() error { f.discarded = true; return nil }

// Files that the other end writes come whole, or are given up.
func TestFiles(t *testing.T) {
	whole, broken := &file{}, &file{}
	open := func(f *file) func(context.Context, map[string]string) (io.WriteCloser, error) {
		return func(_ context.Context, said map[string]string) (io.WriteCloser, error) {
			check.Equal(t, "said", said["name"], "x")
			return f, nil
		}
	}
	t.Cleanup(func() { // the session has ended by then
		check.Equal(t, "discarded", broken.discarded && !broken.closed, true)
	})
	there := served(t, session.Empty("s"), nil, map[int]serve.Output{0: {Open: open(whole)}, 1: {Open: open(broken)}})
	md := map[string]string{"name": "x"}
	w, err := there.File(t.Context(), 0, md)
	check.OK(t, err)
	_, err = w.Write([]byte("all of it"))
	check.OK(t, err)
	check.OK(t, w.Close())
	check.Equal(t, "file", string(whole.text), "all of it")
	check.Equal(t, "closed", whole.closed, true)

	ctx, cancel := context.WithCancel(t.Context())
	w, err = there.File(ctx, 1, md)
	check.OK(t, err)
	_, err = w.Write(make([]byte, 1<<20))
	check.OK(t, err)
	cancel()
	check.Says(t, w.Close(), "output 1")

	w, err = there.File(t.Context(), 7, md)
	if err == nil {
		_, err = w.Write([]byte("x"))
		err = errors.Join(err, w.Close())
	}
	check.Says(t, err, "no output 7")
}

// tree is a tree with a setuid program, a device and links to both.
func tree(t *testing.T) fsutil.FS {
	t.Helper()
	dir := t.TempDir()
	write(t, dir+"/prog", "text", 0o755)
	check.OK(t, os.Chmod(dir+"/prog", 0o755|os.ModeSetuid|os.ModeSetgid))
	write(t, dir+"/dev", "", 0o644)
	check.OK(t, os.Link(dir+"/dev", dir+"/devlink"))
	fs, err := fsutil.NewFS(dir)
	check.OK(t, err)
	fs, err = fsutil.NewFilterFS(fs, &fsutil.FilterOpt{Map: func(path string, st *types.Stat) fsutil.MapResult {
		if path == "dev" {
			st.Mode = uint32(os.ModeDevice | os.ModeCharDevice | 0o644)
			st.Devmajor, st.Devminor, st.Size = 1, 3, 0
		}
		st.Uid, st.Gid = 12, 12
		return fsutil.MapResultKeep
	}})
	check.OK(t, err)
	return fs
}

// A directory that is written has no devices, and no programs that run as somebody else;
// mode=delete leaves only what was sent.
func TestDirectory(t *testing.T) {
	plain, mirror := filepath.Join(t.TempDir(), "new"), t.TempDir()
	write(t, mirror+"/old", "", 0o644)
	there := served(t, session.Empty("s"), nil, map[int]serve.Output{0: {Dir: plain, Umask: 0o027}, 1: {Dir: mirror, Mirror: true}})
	check.OK(t, there.Send(t.Context(), 0, tree(t), false, func(int) {}))
	check.OK(t, there.Send(t.Context(), 1, tree(t), true, func(int) {}))
	fi, err := os.Stat(plain)
	check.OK(t, err)
	check.Equal(t, "mode of the directory", fi.Mode().Perm()&^0o700, 0o050)
	for _, dir := range []string{plain, mirror} {
		fi, err := os.Stat(dir + "/prog")
		check.OK(t, err)
		check.Equal(t, "mode", fi.Mode(), 0o755)
		list, err := os.ReadDir(dir)
		check.OK(t, err)
		check.Equal(t, "files", len(list), 1)
	}
	check.Says(t, there.Send(t.Context(), 1, tree(t), false, func(int) {}), "mode=delete")
}
