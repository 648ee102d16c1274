package main

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/ssh/agent"
)

// bases is an OCI layout of base images, by tag: base is busybox, some links to it
// and two users; other has one more file and variable, onbuild has triggers.
type bases struct {
	dir   string
	layer []byte // that all of them have
}

func newBases(t *testing.T, busybox string) bases {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	noError(t, err)
	archive := baseArchive(t, busybox)
	for tag, change := range map[string]func(*v1.Config) []byte{
		"base": func(*v1.Config) []byte { return nil },
		"other": func(c *v1.Config) []byte {
			c.Env = append(c.Env, "OTHER=yes")
			return tarOf(t, func(w *tar.Writer) { tarFile(t, w, "etc/other", 0o644, "other\n") })
		},
		"onbuild": func(c *v1.Config) []byte {
			c.OnBuild = []string{"ARG GREETING=hello", "COPY in /on/", "RUN echo $GREETING > /on/ran"}
			return nil
		},
	} {
		img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer(archive, types.OCIUncompressedLayer))
		noError(t, err)
		cfg, err := img.ConfigFile()
		noError(t, err)
		cfg = cfg.DeepCopy()
		cfg.OS, cfg.Architecture = "linux", "amd64"
		cfg.Created = v1.Time{Time: time.Unix(1_000_000_000, 0)}
		cfg.Config = v1.Config{Env: []string{"PATH=/bin", "BASE=1"}, Cmd: []string{"/bin/sh"}, Labels: map[string]string{"from": "base"}}
		cfg.History = []v1.History{{CreatedBy: "the base", Created: cfg.Created}}
		extra := change(&cfg.Config)
		img, err = mutate.ConfigFile(img, cfg)
		noError(t, err)
		if extra != nil {
			img, err = mutate.Append(img, mutate.Addendum{
				Layer: static.NewLayer(extra, types.OCIUncompressedLayer), History: v1.History{CreatedBy: "more", Created: cfg.Created},
			})
			noError(t, err)
		}
		noError(t, p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag})))
	}
	return bases{dir, archive}
}

// baseArchive is the layer that all base images have.
func baseArchive(t *testing.T, busybox string) []byte {
	t.Helper()
	dt, err := os.ReadFile(busybox)
	noError(t, err)
	return tarOf(t, func(w *tar.Writer) {
		for _, d := range []string{"bin", "dev", "etc", "home", "proc", "root", "srv", "sys"} {
			tarHeader(t, w, tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755})
		}
		tarHeader(t, w, tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777})
		tarHeader(t, w, tar.Header{Typeflag: tar.TypeDir, Name: "home/app/", Mode: 0o755, Uid: 1000, Gid: 1000})
		tarFile(t, w, "bin/busybox", 0o755, string(dt))
		for _, name := range strings.Fields(applets) {
			tarHeader(t, w, tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777})
		}
		tarFile(t, w, "etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n")
		tarFile(t, w, "etc/group", 0o644, "root:x:0:\napp:x:1000:\nwheel:x:10:app\n")
		tarFile(t, w, "srv/old", 0o644, "old\n")
		tarHeader(t, w, tar.Header{Typeflag: tar.TypeDir, Name: "srv/dir/", Mode: 0o755})
		tarFile(t, w, "srv/dir/a", 0o644, "a\n")
		tarFile(t, w, "srv/dir/b", 0o644, "b\n")
		tarHeader(t, w, tar.Header{Typeflag: tar.TypeSymlink, Name: "srv/link", Linkname: "dir", Mode: 0o777})
	})
}

const applets = "sh cmp ls cat cp mv rm ln mkdir rmdir chmod chown touch stat find sort test true false echo head tail wc grep sed id env pwd date mknod mkfifo df ip dd seq tr readlink printf mount cut sha256sum ulimit"

func tarOf(t *testing.T, fill func(*tar.Writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	fill(w)
	noError(t, w.Close())
	return b.Bytes()
}

func tarHeader(t *testing.T, w *tar.Writer, h tar.Header) {
	t.Helper()
	h.ModTime = time.Unix(1_000_000_000, 0)
	noError(t, w.WriteHeader(&h))
}

func tarFile(t *testing.T, w *tar.Writer, name string, mode int64, text string) {
	t.Helper()
	tarHeader(t, w, tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(text))})
	_, err := io.WriteString(w, text)
	noError(t, err)
}

// site is a server that a case knows as http://files.test: it has the files of
// more/http, and below /git the repositories of more/git.
type site struct{ host string }

const siteName = "files.test"

func newSite(t *testing.T, dir string) *site {
	t.Helper()
	git, err := exec.LookPath("git")
	noError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(filepath.Join(dir, "more/http"))))
	mux.Handle("/git/", &cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Root: "/git", Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + filepath.Join(dir, "more/git"), "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"},
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return &site{host: strings.TrimPrefix(s.URL, "http://")}
}

func (s *site) in(text string) string  { return strings.ReplaceAll(text, siteName, s.host) }
func (s *site) out(text string) string { return strings.ReplaceAll(text, s.host, siteName) }

// sshAgent serves an agent with one key, and returns its socket.
func sshAgent(t *testing.T, dir string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	noError(t, err)
	ring := agent.NewKeyring()
	noError(t, ring.Add(agent.AddedKey{PrivateKey: key}))
	path := filepath.Join(dir, "agent.sock")
	l, err := net.Listen("unix", path)
	noError(t, err)
	var serving sync.WaitGroup
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_ = agent.ServeAgent(ring, conn) // ends with the connection
			})
		}
	})
	return path
}
