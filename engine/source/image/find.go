package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/source/internal/manifest"
)

// found is an image, and where its layers are.
type found struct {
	*manifest.Image
	provider content.Provider
	// labels mark content as being in the image's repository; nil if it is local.
	labels map[string]string
}

// find looks an image up as its mode has it.
func (s *Source) find(ctx context.Context, id identifier) (*found, error) {
	img, localErr := s.findLocal(ctx, id)
	if localErr == nil {
		return img, id.check(img.Root.Digest)
	}
	if !passable(localErr) {
		return nil, fmt.Errorf("local image %s: %w", id.name, localErr)
	}
	if id.mode == modeLocal {
		if img, err := s.findKnown(ctx, id); err == nil {
			return img, id.check(img.Root.Digest)
		} else if !passable(err) {
			return nil, fmt.Errorf("image %s: %w", id.name, err)
		}
	}
	img, err := s.findRemote(ctx, id)
	if err != nil {
		err = s.hint(ctx, id, err)
		if !errdefs.IsNotFound(localErr) {
			err = fmt.Errorf("%w (the local image of this name does not do: %w)", err, localErr)
		}
		return nil, err
	}
	return img, id.check(img.Root.Digest)
}

// hint says what can be done about a registry that cannot be asked.
func (s *Source) hint(ctx context.Context, id identifier, err error) error {
	if id.mode == modeLocal || ctx.Err() != nil || errdefs.IsNotFound(err) || errors.Is(err, registry.ErrDenied) {
		return err
	}
	img, kerr := s.findKnown(ctx, id)
	if kerr != nil || id.check(img.Root.Digest) != nil {
		return err
	}
	return fmt.Errorf("%w; the store has it as it was when it was last pulled, %s: build with --pull=missing to use that", err, img.Root.Digest)
}

// passable decides whether a local image that cannot be used is a reason to ask the
// registry: it is not there, not complete, or not for the platform.
func passable(err error) bool {
	var platform *manifest.PlatformError
	return errdefs.IsNotFound(err) || errors.As(err, &platform)
}

// check compares what was found with what was asked for.
func (id *identifier) check(root digest.Digest) error {
	if id.checksum != "" && id.checksum != root {
		return fmt.Errorf("image digest %s for %s does not match expected checksum %s: it was changed, or the expected digest is another image's", root, id.name, id.checksum)
	}
	return nil
}

// findLocal looks into the local image store. What is not complete there is
// errdefs.ErrNotFound.
func (s *Source) findLocal(ctx context.Context, id identifier) (*found, error) {
	root, err := s.localRoot(ctx, id)
	if err != nil {
		return nil, err
	}
	local := s.opt.Store.Content()
	img, err := manifest.Load(ctx, manifest.FromProvider(local), root, id.platform)
	if err != nil {
		return nil, err
	}
	remote := s.opt.Registry.Provider(id.name.String())
	return &found{Image: img, provider: localFirst{local, remote}}, nil
}

// localRoot returns what a name stands for in the local image store.
func (s *Source) localRoot(ctx context.Context, id identifier) (ocispec.Descriptor, error) {
	pinned, isPinned := id.name.(reference.Digested)
	if id.mode == modePull && !isPinned {
		return ocispec.Descriptor{}, errdefs.ErrNotFound
	}
	name := id.name
	if isPinned {
		// The tag is what such an image is stored under; a digest is not part of it.
		name = reference.TrimNamed(name)
		tag := "latest"
		if t, ok := id.name.(reference.Tagged); ok {
			tag = t.Tag()
		}
		tagged, err := reference.WithTag(name, tag)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		name = tagged
	}
	img, err := s.opt.Store.Images().Get(ctx, name.String())
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if isPinned && pinned.Digest() != img.Target.Digest || id.check(img.Target.Digest) != nil {
		return ocispec.Descriptor{}, errdefs.ErrNotFound
	}
	return img.Target, nil
}

// findRemote looks into the registry. What was pulled before is not pulled again:
// of a reference with a digest that may be all.
func (s *Source) findRemote(ctx context.Context, id identifier) (*found, error) {
	name := id.name.String()
	root, err := s.pulledRoot(ctx, id)
	if errdefs.IsNotFound(err) {
		_, root, err = s.opt.Registry.Resolve(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	read := manifest.First(
		manifest.FromProvider(s.opt.Store.Content()),
		manifest.FromFetcher(s.opt.Registry.Fetcher(name)),
	)
	img, err := manifest.Load(ctx, read, root, id.platform)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	f := s.pulled(id, img)
	if source.IsLooking(ctx) {
		return f, nil
	}
	return f, s.remember(ctx, id, f)
}

// pulled is an image that is, or was, in a registry.
func (s *Source) pulled(id identifier, img *manifest.Image) *found {
	f := &found{Image: img, provider: s.opt.Registry.Provider(id.name.String()), labels: origin(id.name)}
	f.MarkOrigin(id.name)
	return f
}

// pulledRoot returns the descriptor of a manifest that was pulled from the same
// repository before, if the reference names it by its digest.
func (s *Source) pulledRoot(ctx context.Context, id identifier) (ocispec.Descriptor, error) {
	pinned, ok := id.name.(reference.Digested)
	if !ok {
		return ocispec.Descriptor{}, errdefs.ErrNotFound
	}
	info, err := s.opt.Store.Content().Info(ctx, pinned.Digest())
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for host, repo := range origin(id.name) {
		if has(info, host, repo) {
			return ocispec.Descriptor{Digest: info.Digest, Size: info.Size}, nil
		}
	}
	return ocispec.Descriptor{}, errdefs.ErrNotFound
}

// origin is the label of content that is in an image's repository.
func origin(name reference.Named) map[string]string {
	key, repository := manifest.Origin(name)
	return map[string]string{key: repository}
}

// remember puts what was read into the store, for whoever asks for it next. It is
// held there once the image's tree is. What is there already, as in most builds, costs
// no writing, each of which waits for the disk.
func (s *Source) remember(ctx context.Context, id identifier, f *found) (err error) {
	if s.remembered(ctx, id, f) {
		return nil
	}
	leased, release, err := s.opt.Store.WithLease(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release(leased)) }()
	if err := f.Save(leased, s.opt.Store, f.labels); err != nil {
		return err
	}
	if err := s.mark(leased, f); err != nil || id.pinned() {
		return err
	}
	return s.noteTag(leased, id.name, f.Root.Digest)
}

// remembered says whether remember has nothing to do.
func (s *Source) remembered(ctx context.Context, id identifier, f *found) bool {
	for dgst := range f.Blobs {
		info, err := s.opt.Store.Content().Info(ctx, dgst)
		if err != nil {
			return false
		}
		for host, repo := range f.labels {
			if dgst == f.Root.Digest && !has(info, host, repo) {
				return false
			}
		}
		if dgst == f.Root.Digest && !id.pinned() && info.Labels[tagLabel(id.name)] == "" {
			return false
		}
	}
	return true
}

// has says whether content is marked as being in a repository.
func has(info content.Info, host, repo string) bool {
	return slices.Contains(strings.Split(info.Labels[host], ","), repo)
}

// mark adds the repository to the labels of the root, if it was known from another.
func (s *Source) mark(ctx context.Context, f *found) error {
	store := s.opt.Store.Content()
	info, err := store.Info(ctx, f.Root.Digest)
	if err != nil {
		return err
	}
	for host, repo := range f.labels {
		if has(info, host, repo) {
			continue
		}
		all := strings.Trim(info.Labels[host]+","+repo, ",")
		if err := labels.Validate(host, all); err != nil {
			all = repo // labels are short: the last one is as good as the first
		}
		update := content.Info{Digest: f.Root.Digest, Labels: map[string]string{host: all}}
		if _, err := store.Update(ctx, update, "labels."+host); err != nil {
			return fmt.Errorf("label %s: %w", f.Root.Digest, err)
		}
	}
	return nil
}

// localFirst reads what is in the local store there.
type localFirst struct{ local, remote content.Provider }

// ReaderAt implements content.Provider.
func (p localFirst) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	ra, err := p.local.ReaderAt(ctx, desc)
	if errdefs.IsNotFound(err) {
		return p.remote.ReaderAt(ctx, desc)
	}
	return ra, err
}

// digest returns what a reference stands for, without looking into it.
func (s *Source) digest(ctx context.Context, id identifier) (digest.Digest, error) {
	if pinned, ok := id.name.(reference.Digested); ok {
		return pinned.Digest(), id.check(pinned.Digest())
	}
	root, err := s.localRoot(ctx, id)
	if errdefs.IsNotFound(err) && id.mode == modeLocal {
		root, err = s.knownRoot(ctx, id.name)
	}
	if errdefs.IsNotFound(err) {
		_, root, err = s.opt.Registry.Resolve(ctx, id.name.String())
	}
	if err != nil {
		return "", err
	}
	return root.Digest, id.check(root.Digest)
}
