package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"time"

	"github.com/containerd/containerd/v2/core/images/archive"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/images"
	"github.com/tenonbuild/tenon/engine/session"
)

// archiveExporter writes an image as a tar of an OCI layout, to which type=docker
// adds what "docker load" reads, or as a layout in a directory.
type archiveExporter struct {
	deps Deps
	req  Request
	opt  archiveOptions
}

func newArchive(deps Deps, req Request) (Exporter, error) {
	opt, err := parseArchiveOptions(req.Type, req.Attrs, req.Remote != nil)
	if err == nil {
		err = req.checkForm(opt.imageForm)
	}
	if err != nil {
		return nil, err
	}
	// A directory alone says what is wanted, as buildctl's API does.
	if _, said := req.Attrs["tar"]; !said && req.Open == nil && req.Dir != "" && req.Type == TypeOCI {
		opt.tar = false
	}
	if opt.tar && req.Open == nil {
		return nil, fmt.Errorf("output type=%s needs a file to write: dest=FILE, or - for standard output", req.Type)
	}
	if !opt.tar && req.Dir == "" && req.Remote == nil {
		return nil, fmt.Errorf("output type=%s,tar=false needs dest=DIRECTORY", req.Type)
	}
	return &archiveExporter{deps: deps, req: req, opt: opt}, nil
}

func (e *archiveExporter) Name() string {
	return fmt.Sprintf("exporting to %s image format", e.req.Type)
}

func (e *archiveExporter) Export(ctx context.Context, src *Source, _ session.Session) (_ map[string]string, err error) {
	if e.req.Type == TypeDocker && src.isMap() {
		return nil, errors.New("output type=docker takes one platform, since docker load does: build one, or say type=oci")
	}
	ctx, release, err := e.deps.Store.WithLease(e.deps.Store.Context(ctx))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release(context.WithoutCancel(ctx))) }()
	img, err := writeImage(ctx, e.deps.Store, e.opt.settle(e.req, src), src)
	if err != nil {
		return nil, err
	}
	resp, err := img.response()
	if err == nil {
		err = e.write(ctx, img, resp)
	}
	if err != nil {
		return nil, err
	}
	e.req.written(ctx, img)
	return resp, nil
}

// write writes an image where the request says.
func (e *archiveExporter) write(ctx context.Context, img *image, resp map[string]string) error {
	desc := stamped(img)
	if !e.opt.tar && e.req.Remote != nil {
		err := step(ctx, "sending layout", func() error { return sendLayout(ctx, e.req.Remote, img.blobs, desc) })
		if err != nil {
			return fmt.Errorf("sending layout: %w", err)
		}
		return nil
	}
	if !e.opt.tar {
		err := step(ctx, "writing layout", func() error { return writeLayout(ctx, e.req.Dir, e.req.Umask, img.blobs, desc, img.names) })
		if err != nil {
			if isFull(err) {
				err = outputError(e.req.Dir, err) // blobs are read from elsewhere
			}
			return fmt.Errorf("writing layout %s: %w", e.req.Dir, err)
		}
		return nil
	}
	opts := []archive.ExportOpt{archive.WithManifest(desc, img.names...)}
	if e.req.Type == TypeOCI {
		opts = append(opts, archive.WithAllPlatforms(), archive.WithSkipDockerManifest())
	}
	sent := startCounter(ctx, "sending tarball")
	defer sent.done()
	err := writeTo(ctx, e.req.Open, resp, func(w io.Writer) error {
		return archive.Export(ctx, images.WithoutOrigins(img.blobs), stoppable{ctx, io.MultiWriter(w, sent)}, opts...)
	})
	if err != nil {
		return fmt.Errorf("writing archive: %w", err)
	}
	return nil
}

// stamped is the descriptor of an image as an index.json has it: with when the image
// was made, which is the same however often it is written.
func stamped(img *image) ocispec.Descriptor {
	desc := img.desc
	if img.created == nil || desc.Annotations[ocispec.AnnotationCreated] != "" {
		return desc
	}
	desc.Annotations = maps.Clone(desc.Annotations)
	if desc.Annotations == nil {
		desc.Annotations = map[string]string{}
	}
	desc.Annotations[ocispec.AnnotationCreated] = img.created.UTC().Format(time.RFC3339)
	return desc
}

// stoppable is a writer that fails when ctx has ended.
type stoppable struct {
	ctx context.Context
	io.Writer
}

func (s stoppable) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, context.Cause(s.ctx)
	}
	return s.Writer.Write(p)
}
