package export

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	digest "github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/session"
)

// imageExporter writes an image into the store, under names, and to registries.
type imageExporter struct {
	deps Deps
	req  Request
	opt  imageOptions
}

func newImage(deps Deps, req Request) (Exporter, error) {
	opt, err := parseImageOptions(req.Attrs)
	if err == nil {
		err = req.checkForm(opt.imageForm)
	}
	if err != nil {
		return nil, err
	}
	if opt.push && len(opt.names) == 0 && !opt.nameFromRun {
		return nil, errors.New("output type=image: push needs name=REGISTRY/NAME:TAG (or -t)")
	}
	if opt.push && deps.Pusher == nil {
		return nil, errors.New("output type=image: push is not supported: there is nothing here to push with")
	}
	return &imageExporter{deps: deps, req: req, opt: opt}, nil
}

func (e *imageExporter) Name() string { return "exporting to image" }

func (e *imageExporter) Export(ctx context.Context, src *Source, _ session.Session) (_ map[string]string, err error) {
	ctx, release, err := e.deps.Store.WithLease(e.deps.Store.Context(ctx))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release(context.WithoutCancel(ctx))) }()
	img, err := writeImage(ctx, e.deps.Store, e.opt.settle(e.req, src), src)
	if err != nil {
		return nil, err
	}
	if e.opt.push && len(img.names) == 0 {
		return nil, errors.New("push: the image has no name, nor does the frontend say one: give name=REGISTRY/NAME:TAG")
	}
	dangling := e.dangling(img)
	if e.opt.store && len(img.names)+len(dangling) > 0 {
		if err := img.blobs.keep(ctx, img.layers); err != nil {
			return nil, err
		}
		if err := e.record(ctx, img, dangling); err != nil {
			return nil, err
		}
	}
	if e.opt.push {
		if err := e.push(ctx, img); err != nil {
			return nil, err
		}
	}
	e.req.written(ctx, img)
	resp, err := img.response()
	if err != nil {
		return nil, err
	}
	// Clients find the image again by the words that they have asked for it with.
	said := dangling
	if given := e.given(src); given != "" {
		said = append([]string{given}, dangling...)
	}
	if len(said) > 0 {
		resp[exptypes.ExporterImageNameKey] = strings.Join(said, ",")
	}
	return resp, nil
}

// given are the names of the image as the caller has given them, or the frontend.
func (e *imageExporter) given(src *Source) string {
	if e.opt.nameFromRun {
		return string(src.Metadata[exptypes.ExporterImageNameKey])
	}
	return e.opt.given
}

// dangling is the name that an image gets besides those asked for, or none.
func (e *imageExporter) dangling(img *image) []string {
	prefix := e.opt.danglingPrefix
	if prefix == "" || e.opt.danglingOnlyUnnamed && len(img.names) > 0 {
		return nil
	}
	return []string{prefix + "@" + img.desc.Digest.String()}
}

// record names an image in the store. What has no tag is named by its digest.
func (e *imageExporter) record(ctx context.Context, img *image, dangling []string) error {
	names := dangling
	for _, name := range img.names {
		if !e.opt.untagged {
			names = append(names, name)
		}
		if e.opt.untagged || e.opt.canonical {
			names = append(names, canonical(name, img))
		}
	}
	for _, name := range names {
		err := step(ctx, "naming to "+name, func() error {
			return e.deps.Store.Tag(ctx, name, img.desc)
		})
		if err != nil {
			return fmt.Errorf("naming to %s: %w", name, err)
		}
	}
	return nil
}

// canonical is a name with the digest instead of the tag.
func canonical(name string, img *image) string {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name + "@" + img.desc.Digest.String()
}

func (e *imageExporter) push(ctx context.Context, img *image) error {
	opt := PushOptions{Insecure: e.opt.insecure, ByDigest: e.opt.untagged, Annotations: map[digest.Digest]map[string]string{}}
	for _, l := range img.layers {
		opt.Annotations[l.Digest] = l.Annotations
	}
	for _, name := range img.names {
		if err := e.deps.Pusher.Push(ctx, img.blobs, img.desc, name, opt); err != nil {
			return err
		}
	}
	return nil
}
