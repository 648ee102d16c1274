package store_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/internal/bomb"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// packed adds a layer that is dt.
func (r *remote) packed(mediaType string, dt []byte) ocispec.Descriptor {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(dt), Size: int64(len(dt)),
		Annotations: map[string]string{labels.LabelUncompressed: digest.FromString(mediaType).String()}}
	r.blobs[desc.Digest] = dt
	return desc
}

func zipped(t *testing.T, dt []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	_, err := zw.Write(dt)
	check.OK(t, errors.Join(err, zw.Close()))
	return out.Bytes()
}

// TestBombs: a small layer that would become more than there is room or time for is
// refused, and leaves nothing.
func TestBombs(t *testing.T) {
	zw, err := zstd.NewWriter(nil)
	check.OK(t, err)
	whole := func(h tar.Header) []byte { return append(bomb.Cut(h), make([]byte, 1024)...) }
	for name, c := range map[string]struct {
		kind string
		dt   []byte
		says string
	}{
		"a file of a petabyte": {ocispec.MediaTypeImageLayerGzip, zipped(t, bomb.Cut(tar.Header{Name: "huge", Size: 1 << 50})), `the file "huge" of 1PiB is not written: `},
		"a hole of an exabyte": {ocispec.MediaTypeImageLayerGzip, zipped(t, bomb.Holes(1<<60)), `the file "bomb" of 1EiB is not written: `},
		"records of gigabytes": {ocispec.MediaTypeImageLayerGzip, zipped(t, bomb.Records(4<<30)), "header field too long"},
		"an endless path":      {ocispec.MediaTypeImageLayerGzip, zipped(t, whole(tar.Header{Name: strings.Repeat("a/", 1<<18) + "f"})), "a path or a link of 524289 bytes; it can have 4096"},
		"an endless whiteout":  {ocispec.MediaTypeImageLayerGzip, zipped(t, whole(tar.Header{Name: strings.Repeat("a/", 1<<18) + ".wh.f"})), "a path or a link of"},
		"an endless tail": {ocispec.MediaTypeImageLayerZstd, append(zw.EncodeAll(make([]byte, 1024), nil),
			bytes.Repeat(zw.EncodeAll(make([]byte, 16<<20), nil), 1<<30/(16<<20))...), "behind the end of the archive it goes on for more than 1024 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			eachSnapshotter(t, func(t *testing.T, s *store.Store) {
				r := newRemote()
				ref, err := s.FromLayers(t.Context(), []ocispec.Descriptor{r.packed(c.kind, c.dt)}, r, store.NewOptions{})
				check.OK(t, err)
				check.Says(t, ref.Extract(t.Context()), c.says)
				release(t, ref)
			})
		})
	}
}

// TestLargeBlob: a layer that its descriptor says there is no room for is not asked for.
func TestLargeBlob(t *testing.T) {
	s, r := newStore(t, ""), newRemote()
	desc := r.packed(ocispec.MediaTypeImageLayerGzip, nil)
	desc.Size = 1 << 50
	ref, err := s.FromLayers(t.Context(), []ocispec.Descriptor{desc}, r, store.NewOptions{})
	check.OK(t, err)
	check.Says(t, ref.Extract(t.Context()), "it cannot be fetched: the file", "of 1PiB is not written")
	check.Equal(t, "fetches", r.fetched(), 0)
	release(t, ref)
}

// TestRoomIsLeft: unpacking does not fill the disk. What was unpacked of a layer that
// there is no room for is gone, and a small one is unpacked then.
func TestRoomIsLeft(t *testing.T) {
	testenv.Root(t)
	for _, snapshotter := range snapshotters {
		t.Run(snapshotter, func(t *testing.T) {
			disk := t.TempDir()
			check.OK(t, unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64m"))
			t.Cleanup(func() { check.OK(t, unix.Unmount(disk, 0)) })
			s := openStore(t, store.Options{Root: filepath.Join(disk, "root"), Snapshotter: snapshotter})
			defer func() { check.OK(t, s.Close()) }()
			free := func() int64 {
				var st unix.Statfs_t
				check.OK(t, unix.Statfs(disk, &st))
				return int64(st.Bavail) * st.Bsize
			}
			var plain bytes.Buffer
			for i := range 100 {
				plain.Write(bomb.Cut(tar.Header{Name: fmt.Sprint(i), Size: 1 << 20}))
				plain.Write(make([]byte, 1<<20))
			}
			before := free()
			r := newRemote()
			ref, err := s.FromLayers(t.Context(), []ocispec.Descriptor{r.packed(ocispec.MediaTypeImageLayerGzip, zipped(t, plain.Bytes()))}, r, store.NewOptions{})
			check.OK(t, err)
			err = ref.Extract(t.Context())
			check.Says(t, err, "is not written", "are left free")
			if !errors.Is(err, syscall.ENOSPC) {
				t.Error("it is not ENOSPC")
			}
			release(t, ref)
			check.OK(t, s.Collect(t.Context()))
			if after := free(); after < before-1<<20 {
				t.Errorf("%d bytes are free, %d were", after, before)
			}
			ref, err = s.FromLayers(t.Context(), []ocispec.Descriptor{r.layer(t, ocispec.MediaTypeImageLayerGzip, "a", "1")}, r, store.NewOptions{})
			check.OK(t, err)
			check.OK(t, ref.Extract(t.Context()))
			release(t, ref)
		})
	}
}
