package store_test

import (
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
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
	"golang.org/x/sys/unix"
)

var damages = flag.Int("store.damages", 5, "how many random damages TestRandomDamage does to each file")

// damagedRoot is a root with something of everything, to be copied and damaged.
type damagedRoot struct {
	dir, snapshotter string
	remote           *remote
	layers           []ocispec.Descriptor
	// trees are the files of each tree, by the ID of its record.
	trees map[string]map[string]string
}

func makeDamagedRoot(t *testing.T, snapshotter string) *damagedRoot {
	t.Helper()
	ctx := context.Background()
	d := &damagedRoot{dir: t.TempDir(), snapshotter: snapshotter, remote: newRemote(), trees: map[string]map[string]string{}}
	s := openStore(t, store.Options{Root: d.dir, Snapshotter: snapshotter})
	for i := range 3 {
		d.layers = append(d.layers, d.remote.layer(t, ocispec.MediaTypeImageLayerGzip, fmt.Sprint("base", i), fmt.Sprint("of layer ", i)))
	}
	base, err := s.FromLayers(ctx, d.layers, d.remote, store.NewOptions{})
	noError(t, err)
	noError(t, base.Extract(ctx))
	files := map[string]string{"base0": "of layer 0", "base1": "of layer 1", "base2": "of layer 2"}
	d.trees[base.ID()] = files
	last := base
	for i := range 8 {
		name, text := fmt.Sprint("step", i), strings.Repeat(fmt.Sprint("text of step ", i), 50)
		ref := write(t, s, last, store.NewOptions{Description: name}, file(t, name, text))
		files = clone(files, name, text)
		d.trees[ref.ID()] = files
		noError(t, s.CacheKeys().AddResult("key "+name, solver.CacheResult{ID: ref.ID(), CreatedAt: time.Unix(1, 0)}))
		noError(t, s.CacheKeys().AddLink("key before", solver.CacheInfoLink{Digest: digest.FromString(name)}, "key "+name))
		noError(t, ref.SetValue("value", []byte(ref.ID())))
		release(t, last)
		last = ref
	}
	alone := write(t, s, nil, store.NewOptions{}, file(t, "alone", "1"))
	d.trees[alone.ID()] = map[string]string{"alone": "1"}
	merged, err := s.Merge(ctx, []*store.Ref{last, alone}, store.NewOptions{})
	noError(t, err)
	noError(t, merged.Extract(ctx))
	d.trees[merged.ID()] = clone(files, "alone", "1")
	layers, _, err := merged.Layers(ctx, store.LayerOptions{})
	noError(t, err)
	_, err = s.Images().Create(ctx, images.Image{Name: "example.com/kept:1", Target: layers[len(layers)-1].Descriptor})
	noError(t, err)
	c, err := s.CacheMount(ctx, "cache", nil, store.SharingShared)
	noError(t, err)
	mounted(t, c, false, file(t, "cached", "1"))
	noError(t, c.Release(ctx))
	release(t, last, alone, merged)
	noError(t, s.Close())
	return d
}

func clone(files map[string]string, name, text string) map[string]string {
	out := map[string]string{name: text}
	for k, v := range files {
		out[k] = v
	}
	return out
}

// copy makes a copy of the root, to be damaged.
func (d *damagedRoot) copy(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	out, err := exec.Command("cp", "-a", d.dir, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// check opens a damaged root, and does everything with it. It returns what was said of
// the damage, and how many trees were there.
func (d *damagedRoot) check(t *testing.T, root string) (said []string, there int) {
	t.Helper()
	ctx := context.Background()
	watch := time.AfterFunc(2*time.Minute, func() { panic("it hangs") })
	defer watch.Stop()
	opt := store.Options{Root: root, NoWait: true, Notice: func(text string) { said = append(said, text) }}
	s := openStore(t, opt)
	if _, err := s.Du(ctx); err != nil {
		t.Errorf("du: %v", err)
	}
	// What is there is right.
	base, err := s.FromLayers(ctx, d.layers, d.remote, store.NewOptions{})
	noError(t, err)
	for id, files := range d.trees {
		ref, err := s.Get(ctx, id)
		if errors.Is(err, solver.ErrNotFound) {
			continue
		}
		noError(t, err)
		there++
		wantFiles(t, ref, files)
		if v, err := ref.Value("value"); err != nil || v != nil && string(v) != id {
			t.Errorf("value of %s: %q, %v", id, v, err)
		}
		_, _, err = ref.Layers(ctx, store.LayerOptions{})
		noError(t, err)
		release(t, ref)
	}
	// And what is not can be made again.
	wantFiles(t, base, map[string]string{"base0": "of layer 0", "base1": "of layer 1", "base2": "of layer 2"})
	again := write(t, s, base, store.NewOptions{}, file(t, "again", "2"))
	wantFiles(t, again, map[string]string{"again": "2", "base2": "of layer 2"})
	layers, provider, err := again.Layers(ctx, store.LayerOptions{})
	noError(t, err)
	for _, l := range layers {
		dt, err := content.ReadBlob(ctx, provider, l.Descriptor)
		if err != nil || l.Descriptor.Digest.Algorithm().FromBytes(dt) != l.Descriptor.Digest {
			t.Errorf("layer %s: %v", l.Descriptor.Digest, err)
		}
	}
	c, err := s.CacheMount(ctx, "cache", nil, store.SharingShared)
	noError(t, err)
	mounted(t, c, false, file(t, "more", "1"))
	noError(t, c.Release(ctx))
	noError(t, s.CacheKeys().AddResult("key new", solver.CacheResult{ID: again.ID()}))
	release(t, base, again)
	noError(t, s.Close())
	d.empty(t, root)
	return said, there
}

// empty removes all there is, and looks whether it is gone.
func (d *damagedRoot) empty(t *testing.T, root string) {
	t.Helper()
	ctx := context.Background()
	s := openStore(t, store.Options{Root: root, NoWait: true, Notice: func(text string) { t.Errorf("said when it is opened again: %s", text) }})
	list, err := s.Images().List(ctx)
	noError(t, err)
	for _, img := range list {
		noError(t, s.Images().Delete(ctx, img.Name))
	}
	noError(t, s.Prune(ctx, store.PruneOptions{All: true}, nil))
	wantNothing(t, s)
	noError(t, s.Close())
	for _, dir := range []string{filepath.Join(d.snapshotter, "snapshots"), "content/blobs/sha256", "content/ingest", "mounts"} {
		left, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) || len(left) > 0 {
			t.Errorf("%s: %v is left, %v", dir, left, err)
		}
	}
	noError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(filepath.Base(path), ".damaged-") {
			t.Errorf("%s is left", path)
		}
		return err
	}))
}

func wantFiles(t *testing.T, ref *store.Ref, files map[string]string) {
	t.Helper()
	mounted(t, ref, true, func(dir string) {
		for name, text := range files {
			wantFile(t, dir, name, text)
		}
	})
}

// kinds of damage, by name, to a file of that content.
var damageKinds = []struct {
	name string
	do   func(path string, dt []byte) error
}{
	{"missing", func(path string, _ []byte) error { return os.Remove(path) }},
	{"empty", func(path string, _ []byte) error { return os.Truncate(path, 0) }},
	{"text", func(path string, _ []byte) error {
		return os.WriteFile(path, []byte(strings.Repeat("not bolt ", 10000)), 0o600)
	}},
	{"cut-at-a-page", func(path string, dt []byte) error { return os.Truncate(path, int64(len(dt)/2)&^4095) }},
	{"cut-in-a-page", func(path string, dt []byte) error { return os.Truncate(path, int64(len(dt)/3)|77) }},
	{"cut-to-a-byte", func(path string, _ []byte) error { return os.Truncate(path, 1) }},
	{"zero-tail", func(path string, dt []byte) error {
		clear(dt[min(len(dt), 16384):])
		return os.WriteFile(path, dt, 0o600)
	}},
	{"zero-head", func(path string, dt []byte) error {
		clear(dt[:min(len(dt), 8192)])
		return os.WriteFile(path, dt, 0o600)
	}},
	{"zeros", func(path string, dt []byte) error { clear(dt); return os.WriteFile(path, dt, 0o600) }},
	{"directory", func(path string, _ []byte) error {
		return errors.Join(os.Remove(path), os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "x"), nil, 0o600))
	}},
	{"link", func(path string, _ []byte) error {
		return errors.Join(os.Rename(path, path+".moved"), os.Symlink(path+".moved", path), os.Truncate(path+".moved", 10))
	}},
	{"fifo", func(path string, _ []byte) error {
		return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600))
	}},
	{"dangling-link", func(path string, _ []byte) error {
		return errors.Join(os.Remove(path), os.Symlink("/nonexistent/x", path))
	}},
}

// TestDamagedFiles: whatever is done to a file of a root, it is opened, what is right is
// kept, what is lost can be made again, and all room can be freed.
func TestDamagedFiles(t *testing.T) {
	testenv.Root(t)
	for _, snapshotter := range snapshotters {
		d := makeDamagedRoot(t, snapshotter)
		for _, name := range []string{"metadata.db", filepath.Join(snapshotter, "metadata.db"), "cache.db", "version"} {
			for _, kind := range damageKinds {
				t.Run(snapshotter+"/"+strings.ReplaceAll(name, "/", "-")+"/"+kind.name, func(t *testing.T) {
					root := d.copy(t)
					path := filepath.Join(root, name)
					dt, err := os.ReadFile(path)
					noError(t, err)
					noError(t, kind.do(path, dt))
					if name == "version" && kind.name == "zero-tail" {
						t.Skip("it is shorter than that")
					}
					said, there := d.check(t, root)
					if len(said) == 0 && !(name == "cache.db" && (kind.name == "missing" || kind.name == "zero-tail")) {
						t.Error("nothing was said")
					}
					if (name == "cache.db" || name == "version") && there != len(d.trees) {
						t.Errorf("%d of %d trees are there", there, len(d.trees))
					}
					for _, text := range said {
						if !strings.Contains(text, root) {
							t.Errorf("it does not say where: %s", text)
						}
					}
				})
			}
		}
	}
}

// TestDamagedFolders: whatever is in the place of a directory of a root, of a blob or of
// a tree, the root is opened, says so, and what is lost can be made again.
func TestDamagedFolders(t *testing.T) {
	testenv.Root(t)
	kinds := []struct {
		name string
		put  func(path string) error
	}{
		{"missing", func(string) error { return nil }},
		{"file", func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }},
		{"pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }},
		{"directory", func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "x"), nil, 0o600))
		}},
		{"link-to-a-file", func(path string) error { return os.Symlink("/etc/hostname", path) }},
	}
	for _, snapshotter := range snapshotters {
		d := makeDamagedRoot(t, snapshotter)
		noError(t, os.MkdirAll(filepath.Join(d.dir, "state", "part"), 0o700))
		for _, name := range []string{
			"state", "state/part", "mounts", "content", "content/ingest", "content/blobs", "content/blobs/sha256", "content/blobs/sha256/*",
			"SNAPSHOTTER", "SNAPSHOTTER/snapshots", "SNAPSHOTTER/snapshots/*", "SNAPSHOTTER/snapshots/*/fs",
		} {
			for _, kind := range kinds {
				if kind.name == "directory" && !strings.HasSuffix(name, "sha256/*") {
					continue // which may well be the right one
				}
				t.Run(snapshotter+"/"+strings.ReplaceAll(name, "/", "-")+"/"+kind.name, func(t *testing.T) {
					root := d.copy(t)
					all, err := filepath.Glob(filepath.Join(root, strings.Replace(name, "SNAPSHOTTER", snapshotter, 1)))
					if err != nil || len(all) == 0 {
						t.Skipf("there is none: %v", err)
					}
					for _, path := range all {
						noError(t, errors.Join(os.RemoveAll(path), kind.put(path)))
					}
					said, _ := d.check(t, root)
					for _, text := range said {
						if !strings.Contains(text, root) && !strings.Contains(text, "blob sha256:") {
							t.Errorf("it does not say where: %s", text)
						}
					}
				})
			}
		}
	}
}

// A link of a root that leads nowhere may lead to a disk that is not mounted: nothing of
// the root is given up for that.
func TestFolderOnMissingDisk(t *testing.T) {
	testenv.Root(t)
	d := makeDamagedRoot(t, snapshotters[0])
	root, disk := d.copy(t), filepath.Join(t.TempDir(), "disk")
	noError(t, os.Rename(filepath.Join(root, "content"), disk))
	noError(t, os.Symlink(disk, filepath.Join(root, "content")))
	noError(t, os.Rename(disk, disk+"2"))
	_, err := store.Open(context.Background(), store.Options{Root: root})
	if err == nil || !strings.Contains(err.Error(), "content is a link that leads nowhere") {
		t.Fatalf("opened with %v", err)
	}
	noError(t, os.Rename(disk+"2", disk))
	said, there := d.check(t, root)
	if len(said) > 0 || there != len(d.trees) {
		t.Errorf("%d of %d trees are there, and it was said: %q", there, len(d.trees), said)
	}
}

// TestRandomDamage changes some bytes of a file.
func TestRandomDamage(t *testing.T) {
	testenv.Root(t)
	for _, snapshotter := range snapshotters {
		d := makeDamagedRoot(t, snapshotter)
		for _, name := range []string{"metadata.db", filepath.Join(snapshotter, "metadata.db"), "cache.db"} {
			before, err := os.ReadFile(filepath.Join(d.dir, name))
			noError(t, err)
			kept := 0
			for seed := range uint64(*damages) {
				ok := t.Run(fmt.Sprint(snapshotter, "/", strings.ReplaceAll(name, "/", "-"), "/", seed), func(t *testing.T) {
					root := d.copy(t)
					rng := rand.New(rand.NewPCG(seed, 1))
					dt := bytes.Clone(before)
					for range 1 << rng.IntN(5) {
						dt[rng.IntN(len(dt))] ^= byte(1 << rng.IntN(8))
					}
					noError(t, os.WriteFile(filepath.Join(root, name), dt, 0o600))
					_, there := d.check(t, root)
					kept += there
				})
				if !ok {
					return
				}
			}
			t.Logf("%s: %d of %d trees were kept", name, kept, *damages*len(d.trees))
		}
	}
}
