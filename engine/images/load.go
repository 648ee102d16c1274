package images

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/engine/store"
)

// Loaded is an image that came with an archive.
type Loaded struct {
	// Name is in full; "" if the archive gives it none.
	Name string
	// Target is its manifest or index.
	Target ocispec.Descriptor
	// ID is what docker calls the image's ID: see Image.ID.
	ID digest.Digest
}

// LoadArchive reads images from an archive: an OCI layout or what docker save writes,
// as a tar that may be compressed with gzip or zstd. What is read is checked before a
// name stands for it; of an archive that does not hold what it says nothing stays.
//
// An image without a name is there by its digest: see store.IsUntagged.
func (x *Images) LoadArchive(ctx context.Context, r io.Reader) (out []Loaded, err error) {
	ctx, release, err := x.st.WithLease(ctx)
	if err != nil {
		return nil, err
	}
	// Of what came with it, only what an image holds is to stay.
	defer func() { err = errors.Join(err, release(ctx), x.st.Collect(context.WithoutCancel(ctx))) }()
	plain, err := compression.DecompressStream(readable{ctx, r})
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	idx, err := archive.ImportIndex(ctx, x.st.Content(), readable{ctx, plain})
	if err = errors.Join(err, plain.Close()); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("it is not a tar, or not a whole one, as docker save and tenon build -o type=oci write it: %w", err)
		}
		return nil, fmt.Errorf("archive: %w", err)
	}
	l := &loader{x: x, done: map[digest.Digest]bool{}}
	var index ocispec.Index
	if err := l.read(ctx, idx, &index); err != nil {
		return nil, fmt.Errorf("archive: its index: %w", err)
	}
	if len(index.Manifests) == 0 || len(index.Manifests) > maxManifests {
		return nil, fmt.Errorf("archive: its index has %d images: it should have 1 to %d", len(index.Manifests), maxManifests)
	}
	for _, desc := range index.Manifests {
		if desc.Annotations[images.AnnotationManifestSubject] != "" {
			continue // it belongs to another
		}
		loaded, err := l.check(ctx, desc)
		if err != nil {
			return nil, fmt.Errorf("archive: image %s: %w", desc.Digest, err)
		}
		out = append(out, loaded)
	}
	for _, img := range out {
		name := img.Name
		if name == "" {
			name = store.UntaggedName(img.Target.Digest)
		}
		if err := x.st.Tag(ctx, name, img.Target); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// LoadLayout reads images from an OCI layout in a directory: see LoadArchive. Only
// regular files are read, and no link is followed below it.
func (x *Images) LoadLayout(ctx context.Context, dir string) (out []Loaded, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if _, err := root.Lstat(ocispec.ImageLayoutFile); err != nil {
		return nil, fmt.Errorf("%s is no OCI layout: its file %s: %w", dir, ocispec.ImageLayoutFile, err)
	}
	r, w := io.Pipe()
	var eg errgroup.Group
	eg.Go(func() error {
		err := writeLayout(ctx, w, root)
		w.CloseWithError(err)
		return err
	})
	out, err = x.LoadArchive(ctx, r)
	r.Close()
	if sent := eg.Wait(); sent != nil && !errors.Is(sent, io.ErrClosedPipe) {
		return nil, fmt.Errorf("layout %s: %w", dir, sent)
	}
	return out, err
}

// writeLayout writes the files of a layout as a tar.
func writeLayout(ctx context.Context, w io.Writer, root *os.Root) error {
	tw := tar.NewWriter(w)
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		top, _, _ := strings.Cut(name, "/")
		switch top {
		case ".", ocispec.ImageLayoutFile, ocispec.ImageIndexFile, ocispec.ImageBlobsDir:
		default:
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		return writeFile(tw, root, name)
	})
	if err != nil {
		return err
	}
	return tw.Close()
}

func writeFile(tw *tar.Writer, root *os.Root, name string) error {
	// It may have become something else, which an open must not wait for.
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", name)
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Clean(name), Size: fi.Size(), Mode: 0o644, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err = io.CopyN(tw, f, fi.Size())
	return err
}

// readable is a reader that fails when ctx has ended.
type readable struct {
	ctx context.Context
	io.Reader
}

func (r readable) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

// loader checks what came with an archive.
type loader struct {
	x    *Images
	done map[digest.Digest]bool // complete or not, of manifests that were looked at
}

// check looks whether a descriptor of an archive's index is an image, all of which is
// there for one platform at least, and marks what it holds.
func (l *loader) check(ctx context.Context, desc ocispec.Descriptor) (Loaded, error) {
	complete, err := l.walk(ctx, desc, 0)
	if err != nil {
		return Loaded{}, err
	}
	if !complete {
		return Loaded{}, errors.New("the archive does not have all of it for any platform")
	}
	name, err := nameOf(desc)
	if err != nil {
		return Loaded{}, err
	}
	// What an image is does not depend on the archive that it came with.
	target := ocispec.Descriptor{MediaType: desc.MediaType, Digest: desc.Digest, Size: desc.Size, Platform: desc.Platform}
	img := &Image{Target: target}
	l.x.read(ctx, img)
	return Loaded{Name: name, Target: target, ID: img.ID()}, nil
}

// nameOf is the name that an archive gives an image: containerd's and docker's
// annotation, or that of OCI, if it is more than a tag.
func nameOf(desc ocispec.Descriptor) (string, error) {
	name := desc.Annotations[images.AnnotationImageName]
	if name == "" {
		name = desc.Annotations[ocispec.AnnotationRefName]
		if !strings.ContainsAny(name, "/:") {
			return "", nil
		}
	}
	if store.IsUntagged(name) {
		return "", nil
	}
	return fullName(name)
}

// walk returns whether all of an image is there for one platform at least.
func (l *loader) walk(ctx context.Context, desc ocispec.Descriptor, depth int) (complete bool, err error) {
	if depth > 2 {
		return false, errors.New("it has indexes in indexes in indexes")
	}
	if err := ctx.Err(); err != nil {
		return false, context.Cause(ctx)
	}
	if complete, ok := l.done[desc.Digest]; ok {
		return complete, nil
	}
	switch {
	case images.IsIndexType(desc.MediaType):
		complete, err = l.index(ctx, desc, depth)
	case images.IsManifestType(desc.MediaType):
		complete, err = l.manifest(ctx, desc)
	default:
		return false, fmt.Errorf("its media type is %.100q, which is no image's", desc.MediaType)
	}
	l.done[desc.Digest] = complete
	return complete, err
}

func (l *loader) index(ctx context.Context, desc ocispec.Descriptor, depth int) (complete bool, err error) {
	var idx ocispec.Index
	if err := l.read(ctx, desc, &idx); err != nil {
		return false, missing(err, depth)
	}
	if len(idx.Manifests) > maxManifests {
		return false, fmt.Errorf("its index has more than %d manifests", maxManifests)
	}
	for _, m := range idx.Manifests {
		ok, err := l.walk(ctx, m, depth+1)
		if err != nil {
			return false, fmt.Errorf("manifest %s: %w", m.Digest, err)
		}
		complete = complete || ok
	}
	return complete, l.hold(ctx, desc, idx.Manifests)
}

// missing is nil for what an index names and the archive does not have: of an image for
// several platforms some may have been left out.
func missing(err error, depth int) error {
	if depth > 0 && errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

func (l *loader) manifest(ctx context.Context, desc ocispec.Descriptor) (complete bool, err error) {
	var m ocispec.Manifest
	if err := l.read(ctx, desc, &m); err != nil {
		return false, missing(err, 1)
	}
	if len(m.Layers) > maxManifests {
		return false, fmt.Errorf("it has more than %d layers", maxManifests)
	}
	complete = true
	for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		switch err := l.there(ctx, d); {
		case errdefs.IsNotFound(err):
			complete = false
		case err != nil:
			return false, err
		}
	}
	if complete && images.IsConfigType(m.Config.MediaType) {
		var config ocispec.Image
		if err := l.read(ctx, m.Config, &config); err != nil {
			return false, fmt.Errorf("configuration %s: %w", m.Config.Digest, err)
		}
		layers := 0
		for _, d := range m.Layers {
			if images.IsLayerType(d.MediaType) {
				layers++
			}
		}
		if layers > 0 && len(config.RootFS.DiffIDs) != len(m.Layers) {
			return false, fmt.Errorf("it has %d layers, and its configuration is for %d (rootfs.diff_ids)", len(m.Layers), len(config.RootFS.DiffIDs))
		}
	}
	return complete, l.hold(ctx, desc, append([]ocispec.Descriptor{m.Config}, m.Layers...))
}

// there says whether a blob is there, with the size that is said of it.
func (l *loader) there(ctx context.Context, desc ocispec.Descriptor) error {
	if err := desc.Digest.Validate(); err != nil {
		return fmt.Errorf("digest %.100q: %w", desc.Digest, err)
	}
	info, err := l.x.st.Content().Info(ctx, desc.Digest)
	if err != nil {
		return err
	}
	if info.Size != desc.Size {
		return fmt.Errorf("%s has %d bytes, and should have %d", desc.Digest, info.Size, desc.Size)
	}
	return nil
}

// read reads a document. It says what it is, if it says so at all, as the descriptor
// does: what is taken for an index by one and for a manifest by another is refused.
func (l *loader) read(ctx context.Context, desc ocispec.Descriptor, into any) error {
	if err := l.there(ctx, desc); err != nil {
		return err
	}
	var both struct {
		MediaType string `json:"mediaType"`
		Manifests []any  `json:"manifests"`
		Layers    []any  `json:"layers"`
	}
	seen := map[digest.Digest]int64{}
	if err := l.x.document(ctx, desc, &both, seen); err != nil {
		return err
	}
	if both.MediaType != "" && both.MediaType != desc.MediaType {
		return fmt.Errorf("it says that it is %.100q, and is said to be %.100q", both.MediaType, desc.MediaType)
	}
	if both.Manifests != nil && both.Layers != nil {
		return errors.New("it is an index and a manifest at the same time")
	}
	return l.x.document(ctx, desc, into, seen)
}

// hold makes a document hold what it refers to.
func (l *loader) hold(ctx context.Context, desc ocispec.Descriptor, refs []ocispec.Descriptor) error {
	lbl := map[string]string{}
	counts := map[string]uint{}
	for _, r := range refs {
		if r.Digest.Validate() != nil {
			continue
		}
		for _, key := range images.ChildGCLabels(r) {
			i := counts[key]
			counts[key]++
			if strings.HasSuffix(key, ".") {
				key = fmt.Sprintf("%s%d", key, i)
			}
			lbl[key] = r.Digest.String()
		}
	}
	var paths []string
	for key := range maps.Keys(lbl) {
		paths = append(paths, "labels."+key)
	}
	if len(paths) == 0 {
		return nil
	}
	_, err := l.x.st.Content().Update(ctx, content.Info{Digest: desc.Digest, Labels: lbl}, paths...)
	return err
}
