package keycases

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

// World is what the cases are built with: a registry, and a site with files and git
// repositories, on loopback. Everything in it is the same each time but for the shell.
type World struct {
	// Layout is the path of an OCI layout with the image data; a session lends it as "layout".
	Layout string
	// Names are those of the records that differ from machine to machine: of images that have
	// the machine's busybox.
	Names map[digest.Digest]string

	servers  []*httptest.Server
	registry string
	site     string
	words    map[string]string // in braces
}

// when is the time of everything.
var when = time.Unix(1_000_000_000, 0)

// NewWorld starts the servers, with files in an empty directory.
func NewWorld(dir string) (_ *World, err error) {
	w := &World{Layout: filepath.Join(dir, "layout"), Names: map[digest.Digest]string{}, words: map[string]string{}}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	w.registry = w.serve(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	w.words["registry"] = w.registry
	if err := w.images(); err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	repos := filepath.Join(dir, "git")
	if err := w.repositories(repos); err != nil {
		return nil, fmt.Errorf("git repositories: %w", err)
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", serveFile)
	mux.Handle("/git/", &cgi.Handler{
		Path: git, Args: []string{"http-backend"}, Root: "/git", Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + repos, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null"},
	})
	w.site = "http://" + w.serve(mux)
	w.words["site"], w.words["filesum"] = w.site, siteFile.Encoded()
	return w, nil
}

// Close stops the servers.
func (w *World) Close() {
	for _, s := range w.servers {
		s.Close()
	}
}

func (w *World) serve(h http.Handler) (host string) {
	s := httptest.NewServer(h)
	w.servers = append(w.servers, s)
	return strings.TrimPrefix(s.URL, "http://")
}

// Expand puts the servers and what they have into an attribute.
func (w *World) expand(text string) string {
	for k, v := range w.words {
		text = strings.ReplaceAll(text, "{"+k+"}", v)
	}
	return text
}

// FrontendAttrs are the attributes of a case.
func (w *World) FrontendAttrs(c *Case) map[string]string {
	attrs := map[string]string{"platform": "linux/amd64"}
	for k, v := range c.Attrs {
		attrs[k] = w.expand(v)
	}
	return attrs
}

// serveFile has files of one line: all have times but plain, and named has another name.
func serveFile(rw http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/file.txt", "/dir/file.txt":
		rw.Header().Set("Last-Modified", when.UTC().Format(http.TimeFormat))
		rw.Header().Set("ETag", `"1"`)
	case "/named":
		rw.Header().Set("Last-Modified", when.UTC().Format(http.TimeFormat))
		rw.Header().Set("Content-Disposition", `attachment; filename="other.txt"`)
	case "/plain":
	case "/files.tar":
		rw.Header().Set("Last-Modified", when.UTC().Format(http.TimeFormat))
		_, _ = rw.Write(archive(file("in/a", "a\n"), file("in/b", "b\n"))) // who does not read it does not want it
		return
	default:
		http.NotFound(rw, r)
		return
	}
	_, _ = fmt.Fprintln(rw, "a file")
}

// SiteFile is the digest of what the site's files have.
var siteFile = digest.FromString("a file\n")

type entry struct {
	tar.Header
	data string
}

func file(name, data string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))}, data}
}

func dir(name string, mode int64) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}}
}

func link(name, to string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}}
}

func archive(entries ...entry) []byte {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for _, e := range entries {
		e.ModTime = when
		if err := t.WriteHeader(&e.Header); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(t, e.data); err != nil {
			panic(err)
		}
	}
	if err := t.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// images pushes base, which has a shell, onbuild, which has triggers too, data, which has
// files in two layers, and multi, which is data for two platforms.
func (w *World) images() error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("steps use a static busybox (Debian: busybox-static): %w", err)
	}
	dt, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	shell := file("bin/busybox", string(dt))
	shell.Mode = 0o755
	entries := []entry{dir("bin", 0o755), shell, dir("etc", 0o755), dir("tmp", 0o1777), dir("srv", 0o755),
		file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n"),
		file("etc/group", "root:x:0:\napp:x:1000:\n"), file("srv/old", "old\n")}
	for _, applet := range strings.Fields("sh cat cp mkdir rm ln chmod chown touch test true echo sort env") {
		entries = append(entries, link("bin/"+applet, "busybox"))
	}
	base := archive(entries...)
	data := [][]byte{
		archive(dir("d", 0o755), file("d/a", "a\n"), file("d/b", "b\n"), dir("d/sub", 0o700), file("d/sub/c", "c\n"), link("l", "d"), file("f", "f\n")),
		archive(file("d/a", "newer\n"), dir("empty", 0o755)),
	}
	for name, c := range map[string]struct {
		layers [][]byte
		config v1.Config
	}{
		"base":    {[][]byte{base}, v1.Config{Env: []string{"PATH=/bin"}}},
		"onbuild": {[][]byte{base}, v1.Config{Env: []string{"PATH=/bin"}, OnBuild: []string{"COPY in /on/", "RUN cat /on/in > /ran"}}},
		"data":    {data, v1.Config{}},
	} {
		img, err := image(c.config, "amd64", c.layers...)
		if err != nil {
			return err
		}
		if err := w.push(name, img); err != nil {
			return err
		}
		if name == "data" {
			cfg, err := img.ConfigName()
			if err != nil {
				return err
			}
			w.words["config"] = cfg.String()
			p, err := layout.Write(w.Layout, empty.Index)
			if err == nil {
				err = p.AppendImage(img)
			}
			if err != nil {
				return err
			}
		}
	}
	return w.pushIndex(data)
}

func (w *World) push(name string, img v1.Image) error {
	ref, err := w.ref(name)
	if err != nil {
		return err
	}
	dgst, err := img.Digest()
	if err != nil {
		return err
	}
	w.words[name] = dgst.String()
	if name != "data" {
		w.Names[imageRecord(dgst.String())] = name
	}
	return remote.Write(ref, img)
}

func (w *World) ref(image string) (name.Reference, error) {
	return name.ParseReference(w.registry+"/"+image+":latest", name.Insecure)
}

func (w *World) pushIndex(layers [][]byte) error {
	index := v1.ImageIndex(empty.Index)
	for _, arch := range []string{"amd64", "arm64"} {
		img, err := image(v1.Config{Labels: map[string]string{"arch": arch}}, arch, layers...)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	ref, err := w.ref("multi")
	if err != nil {
		return err
	}
	dgst, err := index.Digest()
	if err != nil {
		return err
	}
	w.words["multi"] = dgst.String()
	return remote.WriteIndex(ref, index)
}

func image(config v1.Config, arch string, layers ...[]byte) (v1.Image, error) {
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for _, l := range layers {
		var err error
		img, err = mutate.Append(img, mutate.Addendum{
			Layer: static.NewLayer(l, types.OCIUncompressedLayer), History: v1.History{CreatedBy: "test", Created: v1.Time{Time: when}},
		})
		if err != nil {
			return nil, err
		}
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Config, cfg.Created = "linux", arch, config, v1.Time{Time: when}
	return mutate.ConfigFile(img, cfg)
}

// imageRecord is what the record of an image for linux/amd64 is called in BuildKit's
// caches. It only serves to give names; that it is right is seen from other images.
func imageRecord(root string) digest.Digest {
	dt, err := json.Marshal(struct{ Digest, OS, Arch string }{root, "linux", "amd64"})
	if err != nil {
		panic(err)
	}
	op := digest.FromString("buildkit.source.v0:" + digest.FromBytes(dt).String())
	return digest.FromString(op.String() + "@0")
}

// repositories makes repo.git, and mods.git, which has lib.git as a submodule.
func (w *World) repositories(dir string) error {
	lib, err := commit(filepath.Join(dir, "lib.git"), map[string]string{"lib.txt": "lib\n"}, "")
	if err != nil {
		return err
	}
	_, err = commit(filepath.Join(dir, "mods.git"), map[string]string{
		"f": "f\n", ".gitmodules": "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n",
	}, lib)
	if err != nil {
		return err
	}
	w.words["commit"], err = commit(filepath.Join(dir, "repo.git"), map[string]string{
		"f": "f\n", "sub/g": "g\n", "Dockerfile": "FROM scratch\nCOPY . /\n", "sub/Dockerfile": "FROM scratch\nCOPY g /\n",
	}, "")
	return err
}

// commit makes a bare repository with one commit, its branch main, the tag v1, and the
// annotated tag v2.
func commit(dir string, files map[string]string, submodule string) (string, error) {
	work := dir + ".work"
	if err := os.MkdirAll(work, 0o755); err != nil {
		return "", err
	}
	var out []byte
	var err error
	git := func(args ...string) {
		if err != nil {
			return
		}
		cmd := exec.Command("git", append([]string{"-C", work}, args...)...)
		date := fmt.Sprintf("%d +0000", when.Unix())
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_DATE="+date, "GIT_COMMITTER_DATE="+date,
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("git %v: %w: %s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	for name, text := range files {
		p := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	git("add", ".")
	if submodule != "" {
		git("update-index", "--add", "--cacheinfo", "160000,"+submodule+",lib")
	}
	git("commit", "-q", "-m", "first")
	git("tag", "v1")
	git("tag", "-a", "-m", "second", "v2")
	git("clone", "-q", "--bare", work, dir)
	git("rev-parse", "HEAD")
	return strings.TrimSpace(string(out)), err
}
