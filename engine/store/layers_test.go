package store_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/continuity/sysx"
	"github.com/klauspost/compress/zstd"
	"github.com/moby/buildkit/util/compression"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
	"golang.org/x/sys/unix"
)

// old is a time that no clock gives.
var old = time.Unix(1000000000, 0)

// layersOf returns the layers of a tree, and their archives, not compressed.
func layersOf(t *testing.T, r *store.Ref, opt store.LayerOptions) ([]store.Layer, [][]byte) {
	t.Helper()
	layers, provider, err := r.Layers(context.Background(), opt)
	noError(t, err)
	var tars [][]byte
	for _, l := range layers {
		dt, err := content.ReadBlob(context.Background(), provider, l.Descriptor)
		noError(t, err)
		tars = append(tars, unpacked(t, l.Descriptor, dt))
	}
	return layers, tars
}

func unpacked(t *testing.T, desc ocispec.Descriptor, dt []byte) []byte {
	t.Helper()
	switch {
	case strings.HasSuffix(desc.MediaType, "gzip"):
		zr, err := gzip.NewReader(bytes.NewReader(dt))
		noError(t, err)
		out, err := io.ReadAll(zr)
		noError(t, err)
		return out
	case strings.HasSuffix(desc.MediaType, "zstd"):
		zr, err := zstd.NewReader(bytes.NewReader(dt))
		noError(t, err)
		defer zr.Close()
		out, err := io.ReadAll(zr)
		noError(t, err)
		return out
	}
	return dt
}

// names are those of an archive's entries.
func names(t *testing.T, dt []byte) []string {
	t.Helper()
	var out []string
	for _, h := range headers(t, dt) {
		out = append(out, h.Name)
	}
	return out
}

func headers(t *testing.T, dt []byte) []*tar.Header {
	t.Helper()
	var out []*tar.Header
	for tr := tar.NewReader(bytes.NewReader(dt)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		noError(t, err)
		out = append(out, h)
	}
}

// unpackLayers unpacks archives over one another.
func unpackLayers(t *testing.T, tars [][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for _, dt := range tars {
		_, err := archive.Apply(context.Background(), dir, bytes.NewReader(dt))
		noError(t, err)
	}
	return dir
}

// describe tells all that a layer should carry about the files below dir.
func describe(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	inodes := map[uint64]string{}
	noError(t, filepath.Walk(dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		st := fi.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s mode=%o uid=%d gid=%d", rel, st.Mode, st.Uid, st.Gid)
		switch {
		case fi.Mode().IsRegular():
			dt, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" mtime=%d content=%.20q", fi.ModTime().Unix(), dt)
			if first, ok := inodes[st.Ino]; ok {
				line += " link=" + first
			} else {
				inodes[st.Ino] = rel
			}
		case fi.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " to=" + target
		case fi.Mode()&os.ModeDevice != 0:
			line += fmt.Sprintf(" dev=%d", st.Rdev)
		}
		xattrs, err := sysx.LListxattr(path)
		if err != nil {
			return err
		}
		slices.Sort(xattrs)
		for _, name := range xattrs {
			if v, err := sysx.LGetxattr(path, name); err == nil && !strings.Contains(name, "overlay") {
				line += fmt.Sprintf(" %s=%x", name, v)
			}
		}
		out = append(out, line)
		return nil
	}))
	return out
}

// everything writes one of every kind of file.
func everything(t *testing.T) func(dir string) {
	return func(dir string) {
		t.Helper()
		at := func(name string) string { return filepath.Join(dir, name) }
		for _, d := range []string{"dir", "gone", "opaque", "replaced", strings.Repeat("long", 30)} {
			noError(t, os.MkdirAll(at(d), 0o755))
			file(t, d+"/file", d)(dir)
		}
		noError(t, os.WriteFile(at("setuid"), []byte("x"), 0o755))
		noError(t, os.Chown(at("setuid"), 1234, 70000))
		noError(t, unix.Chmod(at("setuid"), 0o6755))
		noError(t, os.Mkdir(at("sticky"), 0o755))
		noError(t, unix.Chmod(at("sticky"), 0o1777))
		noError(t, os.Link(at("setuid"), at("dir/hardlink")))
		noError(t, os.Symlink("../nowhere", at("dir/broken")))
		noError(t, unix.Mknod(at("device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		noError(t, unix.Mkfifo(at("fifo"), 0o640))
		long := strings.Repeat("n", 200)
		noError(t, os.MkdirAll(at(long), 0o700))
		noError(t, os.WriteFile(at(long+"/"+long), []byte("long"), 0o600))
		noError(t, os.WriteFile(at("ümläut \xff\n"), nil, 0o644))
		noError(t, os.WriteFile(at("xattr"), []byte("x"), 0o644))
		noError(t, unix.Setxattr(at("xattr"), "user.tenon", []byte("a\x00b"), 0))
		noError(t, unix.Setxattr(at("dir"), "user.dir", []byte("d"), 0))
		// cap_net_raw+ep, revision 2
		caps := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		noError(t, unix.Setxattr(at("xattr"), "security.capability", caps, 0))
		noError(t, os.Chtimes(at("dir/file"), old, old))
	}
}

// change changes what everything has written.
func change(t *testing.T) func(dir string) {
	return func(dir string) {
		t.Helper()
		at := func(name string) string { return filepath.Join(dir, name) }
		noError(t, os.RemoveAll(at("gone")))
		noError(t, os.RemoveAll(at("opaque")))
		noError(t, os.Mkdir(at("opaque"), 0o711))
		file(t, "opaque/new", "new")(dir)
		noError(t, os.RemoveAll(at("replaced")))
		noError(t, os.WriteFile(at("replaced"), []byte("now a file"), 0o644))
		noError(t, os.Chmod(at("fifo"), 0o600))
		noError(t, os.Remove(at("dir/hardlink")))
		noError(t, unix.Setxattr(at("sticky"), "user.late", []byte("1"), 0))
		noError(t, unix.Setxattr(at("setuid"), "user.late", []byte("2"), 0))
	}
}

func TestLayersCarryEverything(t *testing.T) {
	for _, kind := range []compression.Type{compression.Gzip, compression.Zstd, compression.Uncompressed} {
		t.Run(kind.String(), func(t *testing.T) {
			eachSnapshotter(t, func(t *testing.T, s *store.Store) {
				a := write(t, s, nil, store.NewOptions{Description: "first"}, everything(t))
				b := write(t, s, a, store.NewOptions{Description: "second"}, change(t))
				defer release(t, a, b)
				layers, tars := layersOf(t, b, store.LayerOptions{Compression: compression.New(kind)})
				if len(layers) != 2 || layers[0].Description != "first" || layers[1].Descriptor.MediaType != kind.MediaType() {
					t.Fatalf("got %+v", layers)
				}
				got := describe(t, unpackLayers(t, tars))
				mounted(t, b, true, func(dir string) {
					want := describe(t, dir)
					if !slices.Equal(got, want) {
						t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
					}
				})
				for _, name := range names(t, tars[1]) {
					if strings.HasPrefix(name, "xattr") || strings.HasPrefix(name, "long") {
						t.Errorf("the second layer has %s, which did not change", name)
					}
				}
			})
		})
	}
}

func TestLayersAreDeterministic(t *testing.T) {
	var want [][]byte
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		for range 2 {
			a := write(t, s, nil, store.NewOptions{}, func(dir string) {
				file(t, "d/a", "1")(dir)
				file(t, "d/b", "2")(dir)
				noError(t, os.Chtimes(filepath.Join(dir, "d"), old, old))
			})
			b := write(t, s, a, store.NewOptions{}, func(dir string) {
				noError(t, os.Remove(filepath.Join(dir, "d/b")))
			})
			epoch := old.Add(time.Hour)
			layers, tars := layersOf(t, b, store.LayerOptions{SourceDateEpoch: &epoch})
			if want == nil {
				want = tars
			}
			for i := range tars {
				if !bytes.Equal(tars[i], want[i]) {
					t.Errorf("layer %d: got %v, want %v", i, headers(t, tars[i]), headers(t, want[i]))
				}
				for _, h := range headers(t, tars[i]) {
					if h.ModTime.After(epoch) {
						t.Errorf("%s is of %s", h.Name, h.ModTime)
					}
				}
			}
			plain, _ := layersOf(t, b, store.LayerOptions{})
			if plain[0].Descriptor.Digest == layers[0].Descriptor.Digest {
				t.Error("without an epoch the times are bounded, too")
			}
			release(t, a, b)
		}
	})
}

// The layers of the base keep their times, as long as they are the lowest; what was made
// here, and what else was merged, does not.
func TestBaseKeepsItsTimes(t *testing.T) {
	s := newStore(t, "")
	r := newRemote()
	var parts []*store.Ref
	var base []digest.Digest
	for _, name := range []string{"a", "b"} {
		desc := r.layer(t, ocispec.MediaTypeImageLayerGzip, name, "1")
		base = append(base, digest.Digest(desc.Annotations[labels.LabelUncompressed]))
		ref, err := s.FromLayers(context.Background(), []ocispec.Descriptor{desc}, r, store.NewOptions{})
		noError(t, err)
		parts = append(parts, ref)
	}
	parts = append(parts, write(t, s, nil, store.NewOptions{}, file(t, "c", "3")))
	merged, err := s.Merge(context.Background(), parts, store.NewOptions{})
	noError(t, err)
	defer release(t, append(parts, merged)...)
	epoch := old.AddDate(-10, 0, 0)
	for name, test := range map[string]struct {
		base []digest.Digest
		kept int
	}{
		"no base":         {nil, 0},
		"one layer":       {base[:1], 1},
		"two":             {base, 2},
		"another base":    {base[1:], 0},
		"the second only": {[]digest.Digest{"sha256:another", base[1]}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			layers, tars := layersOf(t, merged, store.LayerOptions{SourceDateEpoch: &epoch, Base: test.base})
			check.Equal(t, "layers", len(layers), 3)
			for i, l := range layers {
				kept := i < test.kept
				if got := i < 2 && l.DiffID == base[i]; got != kept {
					t.Errorf("layer %d is as it was: %v", i, got)
				}
				if late := headers(t, tars[i])[0].ModTime.After(epoch); late != kept {
					t.Errorf("layer %d has later times: %v", i, late)
				}
				said := ""
				if !kept {
					said = strconv.FormatInt(epoch.Unix(), 10)
				}
				check.Equal(t, "what is said of the times", l.Descriptor.Annotations[store.RewrittenTimestamp], said)
			}
		})
	}
}

func TestEmptyLayer(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		a := write(t, s, nil, store.NewOptions{}, file(t, "a", "1"))
		b := write(t, s, a, store.NewOptions{}, func(string) {})
		defer release(t, a, b)
		layers, tars := layersOf(t, b, store.LayerOptions{})
		if len(layers) != 2 || len(names(t, tars[1])) != 0 {
			t.Errorf("got %v, with %v in the second", layers, names(t, tars[1]))
		}
		var none *store.Ref
		if layers, _ := layersOf(t, none, store.LayerOptions{}); len(layers) != 0 {
			t.Errorf("the empty tree has layers: %v", layers)
		}
	})
}

func TestForms(t *testing.T) {
	s := newStore(t, "")
	a := write(t, s, nil, store.NewOptions{}, file(t, "a", strings.Repeat("1", 1000)))
	defer release(t, a)
	gz, _ := layersOf(t, a, store.LayerOptions{})
	loose, _ := layersOf(t, a, store.LayerOptions{Compression: compression.New(compression.Zstd)})
	if loose[0].Descriptor.Digest != gz[0].Descriptor.Digest {
		t.Error("a layer that has a blob got another, without need")
	}
	forced, _ := layersOf(t, a, store.LayerOptions{Compression: compression.New(compression.Zstd).SetForce(true)})
	if !compression.IsMediaType(compression.Zstd, forced[0].Descriptor.MediaType) || forced[0].DiffID != gz[0].DiffID {
		t.Errorf("forced to zstd: got %+v, from %+v", forced, gz)
	}
	if _, _, err := a.Layers(context.Background(), store.LayerOptions{Compression: compression.New(compression.EStargz)}); err == nil {
		t.Error("estargz is not refused")
	}
}

func TestLayersConcurrently(t *testing.T) {
	s := newStore(t, "")
	a := write(t, s, nil, store.NewOptions{}, file(t, "a", strings.Repeat("1", 1<<20)))
	defer release(t, a)
	var wg sync.WaitGroup
	digests := make([]string, 8)
	for i := range digests {
		wg.Go(func() {
			layers, _, err := a.Layers(context.Background(), store.LayerOptions{})
			if err == nil {
				digests[i] = layers[0].Descriptor.Digest.String()
			} else {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d := slices.Compact(digests); len(d) != 1 {
		t.Errorf("got %v", d)
	}
}

// What was once converted because that was asked for is not what comes without.
func TestConvertedOnlyByForce(t *testing.T) {
	s := newStore(t, "")
	r := newRemote()
	pulled := r.layer(t, ocispec.MediaTypeImageLayerZstd, "a", "1")
	ref, err := s.FromLayers(context.Background(), []ocispec.Descriptor{pulled}, r, store.NewOptions{})
	noError(t, err)
	defer release(t, ref)
	gzip := compression.New(compression.Gzip)
	if got, _ := layersOf(t, ref, store.LayerOptions{Compression: gzip.SetForce(true)}); got[0].Descriptor.Digest == pulled.Digest {
		t.Error("it was not converted")
	}
	if got, _ := layersOf(t, ref, store.LayerOptions{Compression: gzip}); got[0].Descriptor.Digest != pulled.Digest {
		t.Errorf("got %+v, want what was pulled", got[0].Descriptor)
	}
}

// A file or a link that was changed and has the size and the time that it had before
// is in the layer nevertheless, and what was only touched is not.
func TestLayersSeeWhatTimesDoNot(t *testing.T) {
	eachSnapshotter(t, func(t *testing.T, s *store.Store) {
		put := func(text string, nsec int64) func(string) {
			return func(dir string) {
				noError(t, os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o644))
				noError(t, os.WriteFile(filepath.Join(dir, "same"), []byte("same"), 0o644))
				noError(t, os.RemoveAll(filepath.Join(dir, "l")))
				noError(t, os.Symlink(text, filepath.Join(dir, "l")))
				ts := []unix.Timespec{{Sec: 1000, Nsec: nsec}, {Sec: 1000, Nsec: nsec}}
				for _, name := range []string{"f", "same", "l"} {
					noError(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, name), ts, unix.AT_SYMLINK_NOFOLLOW))
				}
			}
		}
		for _, nsec := range []int64{0, 5} {
			below := write(t, s, nil, store.NewOptions{}, put("1", nsec))
			ref := write(t, s, below, store.NewOptions{}, put("2", nsec))
			_, tars := layersOf(t, ref, store.LayerOptions{})
			got := names(t, tars[1])
			slices.Sort(got)
			if want := []string{"f", "l"}; !slices.Equal(got, want) {
				t.Errorf("%d: the second layer has %v, want %v", nsec, got, want)
			}
			release(t, below, ref)
		}
	})
}
