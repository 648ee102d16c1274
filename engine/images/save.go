package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The forms of archives.
const (
	// FormatDocker is read by docker load and by all that read OCI archives.
	FormatDocker = "docker"
	// FormatOCI is an OCI archive and nothing else.
	FormatOCI = "oci"
)

// SaveOptions say how to save images.
type SaveOptions struct {
	// Format is FormatDocker, which "" stands for, or FormatOCI.
	Format string
	// Platforms are those to save; none: all that are here.
	Platforms []ocispec.Platform
}

// Plan finds what Save would write, so that what is wrong is known before a file is
// made.
func (x *Images) Plan(ctx context.Context, refs []string, opt SaveOptions) (*Saving, error) {
	if len(refs) == 0 {
		return nil, errors.New("no image is named")
	}
	s := &Saving{x: x}
	switch opt.Format {
	case "", FormatDocker:
	case FormatOCI:
		s.opts = append(s.opts, archive.WithSkipDockerManifest())
	default:
		return nil, fmt.Errorf("archive format %q: there are %s and %s", opt.Format, FormatDocker, FormatOCI)
	}
	all, err := x.List(ctx)
	if err != nil {
		return nil, err
	}
	here := platforms.MatchComparer(preferred{platforms.Default()})
	if len(opt.Platforms) > 0 {
		here = platforms.Ordered(opt.Platforms...)
	} else {
		s.opts = append(s.opts, archive.WithAllPlatforms())
	}
	s.opts = append(s.opts, archive.WithPlatform(here), archive.WithSkipMissing(x.st.Content()))
	for _, ref := range refs {
		found, err := FindIn(all, ref)
		if err != nil {
			return nil, err
		}
		desc, err := found.pick(ref, opt.Platforms)
		if err != nil {
			return nil, err
		}
		var names []string
		switch {
		case found.Name != "":
			names = []string{found.Name}
		default:
			names = found.Names
		}
		s.opts = append(s.opts, archive.WithManifest(desc, slices.DeleteFunc(slices.Clone(names), digested)...))
	}
	return s, nil
}

func digested(name string) bool { return strings.Contains(name, "@") }

// pick is what is saved of an image, all of which is here: of one platform that was
// asked for, its manifest.
func (f *Found) pick(ref string, want []ocispec.Platform) (ocispec.Descriptor, error) {
	var chosen []Platform
	for _, p := range f.Platforms {
		if len(want) == 0 && p.Complete || slices.ContainsFunc(want, func(w ocispec.Platform) bool { return platforms.OnlyStrict(w).Match(p.Platform) }) {
			chosen = append(chosen, p)
		}
	}
	var there []string
	for _, p := range f.Platforms {
		if p.Complete {
			there = append(there, platforms.Format(p.Platform))
		}
	}
	if len(chosen) == 0 || len(chosen) < len(want) {
		return ocispec.Descriptor{}, fmt.Errorf("image %q: it is here for %s, and not for all platforms that were asked for", ref, cmpOr(strings.Join(there, ", "), "no platform as a whole"))
	}
	for _, p := range chosen {
		if !p.Complete {
			return ocispec.Descriptor{}, fmt.Errorf("image %q: not all of it is here for %s", ref, platforms.Format(p.Platform))
		}
	}
	if len(want) == 1 {
		return chosen[0].Manifest, nil
	}
	return f.Target, nil
}

func cmpOr(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

// Saving is an archive that can be written.
type Saving struct {
	x    *Images
	opts []archive.ExportOpt
}

// WriteArchive writes the archive, as a tar. The same images are the same archive.
func (s *Saving) WriteArchive(ctx context.Context, w io.Writer) error {
	ctx = s.x.st.Context(ctx)
	err := archive.Export(ctx, WithoutOrigins(s.x.st.Content()), stoppable{ctx, w}, s.opts...)
	if err != nil {
		return fmt.Errorf("writing archive: %w", err)
	}
	return nil
}

// preferred takes every platform, those first that it is made of.
type preferred struct{ platforms.MatchComparer }

// Match implements platforms.Matcher.
func (preferred) Match(ocispec.Platform) bool { return true }

// stoppable is a writer that fails when ctx has ended.
type stoppable struct {
	ctx context.Context
	io.Writer
}

func (s stoppable) Write(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	return s.Writer.Write(p)
}

// WithoutOrigins are blobs without word of where they have been, which would get into
// archives: the same image is the same archive, pushed or not.
func WithoutOrigins(p content.InfoReaderProvider) content.InfoReaderProvider { return unlabelled{p} }

type unlabelled struct{ content.InfoReaderProvider }

func (u unlabelled) Info(ctx context.Context, d digest.Digest) (content.Info, error) {
	info, err := u.InfoReaderProvider.Info(ctx, d)
	if err != nil {
		return info, err
	}
	info.Labels = maps.Clone(info.Labels)
	maps.DeleteFunc(info.Labels, func(k, _ string) bool {
		return strings.HasPrefix(k, labels.LabelDistributionSource)
	})
	return info, nil
}
