package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

//go:embed images.sh
var makeTrees string

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// image is one that tests take from Docker Hub.
type image struct {
	ref, tree string
	config    v1.Config
}

func shell(cmd string) v1.Config { return v1.Config{Env: []string{defaultPath}, Cmd: []string{cmd}} }

var images = []image{
	{"library/busybox:latest", "busybox", shell("sh")},
	{"library/busybox_amd64:latest", "busybox", shell("sh")},
	{"library/busybox:stable-musl", "musl", shell("sh")},
	{"library/alpine:latest", "alpine", shell("/bin/sh")},
	{"amd64/debian:bullseye-20230109-slim", "alpine", shell("bash")},
	{"tonistiigi/test:nolayers", "", v1.Config{}},
	{"tonistiigi/hellofs:latest", "regular", v1.Config{}},
	{"docker/buildkit-syft-scanner:stable-1", "scanner", v1.Config{Env: []string{defaultPath}, Entrypoint: []string{"/bin/scan"}}},
}

// images puts what stands in for images into the storage of a registry, where the tests
// look before they ask Docker Hub.
func (w *workspace) images(ctx context.Context) error {
	trees := w.kept("trees")
	if _, err := os.Stat(trees); err != nil {
		if err := os.MkdirAll(trees+".new", 0o755); err != nil {
			return err
		}
		if err := command(ctx, nil, "bash", "-c", makeTrees, "images.sh", trees+".new"); err != nil {
			return err
		}
		if err := os.Rename(trees+".new", trees); err != nil {
			return err
		}
	}
	w.mirror = filepath.Join(w.dir, "mirror")
	host, stop, err := startRegistry(ctx, w.mirror)
	if err != nil {
		return err
	}
	defer stop()
	for _, i := range images {
		var layers []v1.Layer
		if i.tree != "" {
			l, err := tarball.LayerFromFile(filepath.Join(trees, i.tree+".tar"), tarball.WithCompressionLevel(1))
			if err != nil {
				return err
			}
			layers = append(layers, l)
		}
		if err := push(ctx, host+"/"+i.ref, i.config, layers...); err != nil {
			return err
		}
	}
	return w.foreignImage(ctx, host, trees)
}

// foreignImage has a layer that is, by its descriptor, somewhere else.
func (w *workspace) foreignImage(ctx context.Context, host, trees string) error {
	url, err := w.serveForeign(ctx)
	if err != nil {
		return err
	}
	var layers []v1.Layer
	for _, tree := range []string{"foreign", "regular"} {
		dt, err := os.ReadFile(filepath.Join(trees, tree+".tar"))
		if err != nil {
			return err
		}
		layers = append(layers, static.NewLayer(dt, types.DockerUncompressedLayer))
	}
	img, err := build(v1.Config{})
	if err != nil {
		return err
	}
	img, err = mutate.Append(img,
		mutate.Addendum{Layer: layers[0], MediaType: types.MediaType("application/vnd.docker.image.rootfs.foreign.diff.tar"), URLs: []string{url}},
		mutate.Addendum{Layer: layers[1], MediaType: types.DockerUncompressedLayer},
	)
	if err != nil {
		return err
	}
	ref, err := name.ParseReference(host + "/cpuguy83/buildkit-foreign:latest")
	if err != nil {
		return err
	}
	// The registry has the layer all the same.
	if err := remote.WriteLayer(ref.Context(), layers[0], remote.WithContext(ctx)); err != nil {
		return err
	}
	return remote.Write(ref, img, remote.WithContext(ctx))
}

// frontend writes the image of BuildKit's Dockerfile frontend to a file.
func (w *workspace) frontend() error {
	dir := filepath.Join(w.dir, "frontend")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tree := filepath.Join(dir, "tree.tar")
	if err := command(context.Background(), nil, "tar", "--create", "--file", tree, "--directory", w.cache, "dockerfile-frontend"); err != nil {
		return err
	}
	layer, err := tarball.LayerFromFile(tree, tarball.WithCompressionLevel(1))
	if err != nil {
		return err
	}
	img, err := build(v1.Config{
		Env: []string{defaultPath}, Entrypoint: []string{"/dockerfile-frontend"},
		Labels: map[string]string{
			"moby.buildkit.frontend.network.none": "true",
			"moby.buildkit.frontend.caps":         "moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts",
		},
	}, layer)
	if err != nil {
		return err
	}
	ref, err := name.ParseReference("frontend:latest")
	if err != nil {
		return err
	}
	return tarball.WriteToFile(w.frontendFile(), ref, img)
}

func (w *workspace) frontendFile() string { return filepath.Join(w.dir, "frontend", "image.tar") }

// build makes an image, which is always the same.
func build(config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	at := v1.Time{Time: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)}
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Created, file.Config = "amd64", "linux", at, config
	for i := range file.History {
		file.History[i].Created, file.History[i].CreatedBy = at, fmt.Sprintf("layer %d", i)
	}
	file.History = append(file.History, v1.History{Created: at, CreatedBy: "CMD", EmptyLayer: true})
	return mutate.ConfigFile(img, file)
}

func push(ctx context.Context, to string, config v1.Config, layers ...v1.Layer) error {
	img, err := build(config, layers...)
	if err != nil {
		return err
	}
	ref, err := name.ParseReference(to)
	if err != nil {
		return err
	}
	return remote.Write(ref, img, remote.WithContext(ctx))
}

var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// startRegistry starts a registry whose storage is in a directory, as BuildKit's tests do.
func startRegistry(ctx context.Context, dir string) (host string, stop func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	config := filepath.Join(dir, "config.yaml")
	text := "version: 0.1\nstorage: {filesystem: {rootdirectory: " + filepath.Join(dir, "data") + "}}\nhttp: {addr: 127.0.0.1:0}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, "docker-registry", "serve", config)
	out, err := cmd.StderrPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	s := bufio.NewScanner(out)
	for s.Scan() {
		if m := listening.FindStringSubmatch(s.Text()); m != nil {
			go io.Copy(io.Discard, out) //nolint:errcheck // it ends with the registry
			return m[1], stop, nil
		}
	}
	stop()
	return "", nil, errors.New("the registry does not start")
}
