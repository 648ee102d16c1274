package export

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	intoto "github.com/in-toto/in-toto-golang/in_toto"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
)

// addLayers says in the SBOM of an image which layer each of its files is from, which no
// scanner can know. What is not SPDX, or a file that has a comment, is left as it is.
func (s *statement) addLayers(ctx context.Context, b *blobs, layers []ocispec.Descriptor) error {
	if s.InToto.PredicateType != intoto.PredicateSPDX || !s.ofCore() {
		return nil
	}
	doc, err := spdxjson.Read(bytes.NewReader(s.predicate))
	if err != nil || doc == nil {
		return nil //nolint:nilerr // it is the scanner's, and may be of another version
	}
	find := layerFinder{blobs: b, left: slices.Clone(layers), known: map[string]ocispec.Descriptor{}}
	files := doc.Files
	for _, p := range doc.Packages {
		if p != nil {
			files = append(files, p.Files...)
		}
	}
	for _, f := range files {
		if f == nil || f.FileComment != "" {
			continue
		}
		l, err := find.layer(ctx, f.FileName)
		if err != nil {
			return err
		}
		if l.Digest != "" {
			f.FileComment = "layerID: " + l.Digest.String()
		}
	}
	if doc.CreationInfo == nil {
		doc.CreationInfo = &spdx.CreationInfo{}
	}
	doc.CreationInfo.Creators = append(doc.CreationInfo.Creators, spdx.Creator{CreatorType: "Tool", Creator: "tenon"})
	var buf bytes.Buffer
	if err := spdxjson.Write(doc, &buf); err != nil {
		return err
	}
	s.predicate = buf.Bytes()
	return nil
}

// layerFinder finds the uppermost layer that has a file. It reads layers from the top, and
// no more of them than it must.
type layerFinder struct {
	blobs *blobs
	left  []ocispec.Descriptor
	known map[string]ocispec.Descriptor
}

// layer returns the layer of a file; the zero value for one that is in none.
func (f *layerFinder) layer(ctx context.Context, name string) (ocispec.Descriptor, error) {
	name = path.Join("/", name)
	for {
		if l, ok := f.known[name]; ok || len(f.left) == 0 {
			return l, nil
		}
		top := f.left[len(f.left)-1]
		f.left = f.left[:len(f.left)-1]
		if err := f.read(ctx, top); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
}

// read notes the files of a layer.
func (f *layerFinder) read(ctx context.Context, l ocispec.Descriptor) (err error) {
	ra, err := f.blobs.ReaderAt(ctx, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ra.Close()) }()
	plain, err := compression.DecompressStream(content.NewReader(ra))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plain.Close()) }()
	for r := tar.NewReader(plain); ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Join("/", h.Name)
		if _, above := f.known[name]; !above && !strings.HasPrefix(path.Base(name), ".wh.") {
			f.known[name] = l
		}
	}
}
