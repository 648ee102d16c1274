// Package export writes the result of a build somewhere: an image into the local
// store or a registry, an archive, a directory.
package export

import (
	"context"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/content"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/store"
)

// Request says what is to be written, as --output does.
type Request struct {
	// Type is "image", "docker", "oci", "local", "tar" or "cacheonly", or that of a
	// registered exporter.
	Type  string
	Attrs map[string]string
	// Compatibility is which version of BuildKit's ways to make images is followed
	// (compat.CompatibilityVersion013, say); 0 is the newest.
	Compatibility int
	// Attests lets an output that cannot have attestations be refused at once.
	Attests Attests
	// Lenient takes attributes that the type does not have, as BuildKit does: they are
	// metadata of the result.
	Lenient bool
	// Open makes the file of an exporter that writes one. It gets the exporter's
	// response so far (the image's name, say). Writing may end with ctx.
	Open func(ctx context.Context, response map[string]string) (io.WriteCloser, error)
	// Dir is the directory of an exporter that writes one.
	Dir string
	// Remote is where an exporter that writes a directory does so instead: at a caller
	// who is elsewhere.
	Remote Remote
	// Written, if not nil, is told which image was written, which may be one that is written
	// again after a fault. Its blobs can be read until it returns.
	Written func(ctx context.Context, from content.Provider, desc ocispec.Descriptor)
	// Umask is taken from the modes of what is made for the caller: files, directories.
	// It is for a process that has given up its own. The modes of a result's files are
	// the result's.
	Umask os.FileMode
}

// Remote is a caller's place for directories.
type Remote interface {
	// Send writes files. With mirror, nothing else is to be there afterwards. Sent is told
	// how many bytes have gone.
	Send(ctx context.Context, files fsutil.FS, mirror bool, sent func(int)) error
	// Blobs is where the blobs of a layout are written. Its index is the caller's to
	// write, who learns the descriptor from the response.
	Blobs(ctx context.Context) (content.Ingester, error)
}

// Source is what a build resulted in. Refs are borrowed.
type Source struct {
	// Platforms holds one element for each platform, sorted as the frontend said
	// (exptypes.ExporterPlatformsKey); one with a nil Platform where it said nothing.
	Platforms []Platform
	// MultiPlatform says that the frontend gave a result for each platform even where
	// there is one: images get an index, directories and archives of trees one
	// directory for each platform. With several platforms it is implied.
	MultiPlatform bool
	// Metadata is the frontend's: exptypes keys, the image's config among them.
	Metadata map[string][]byte
}

// Platform is the result for one platform.
type Platform struct {
	ID       string // "" where the frontend named none
	Platform *ocispec.Platform
	Ref      *store.Ref
	// Config is the image's config (exptypes.ExporterImageConfigKey); nil if none.
	Config []byte
	// InlineCache, if not nil, makes the cache that goes into the config of an image of these
	// layers. None is nil.
	InlineCache func(ctx context.Context, layers []store.Layer) ([]byte, error)
	// Attestations are what there is to say of it.
	Attestations []Attestation
}

// Exporter is one output of one build. Attributes have been checked when it was
// made, before anything was built.
type Exporter interface {
	// Name says what it does, as progress shows it.
	Name() string
	// Export writes src and returns what it has to say (exptypes keys:
	// containerimage.digest, ...). Session is the build's caller.
	Export(ctx context.Context, src *Source, sess session.Session) (map[string]string, error)
}

// written tells which image was written.
func (r Request) written(ctx context.Context, img *image) {
	if r.Written != nil {
		r.Written(ctx, img.blobs, img.desc)
	}
}

// Factory makes the Exporter of a Request. An unknown attribute is an error that
// names it.
type Factory func(req Request) (Exporter, error)
