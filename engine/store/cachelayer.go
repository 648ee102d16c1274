package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrCacheMountInUse says that a step has the cache mount now.
var ErrCacheMountInUse = errors.New("a step uses it now")

// CacheLayer is what a cache mount has, as a layer. It has one owner, who releases it once.
type CacheLayer struct {
	Descriptor ocispec.Descriptor // with the annotation "containerd.io/uncompressed"
	// CreatedAt is when the cache mount was made: it was written since then, if at all.
	CreatedAt time.Time
	// Lost are files of it that no layer can have: their names mean in a layer that others
	// are removed.
	Lost []string
	content.Provider
	s     *Store
	lease string
}

// HasCacheMount says whether there is a cache mount of an ID.
func (s *Store) HasCacheMount(id string) bool {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for _, r := range s.index.caches[id] {
		if !r.lost {
			return true
		}
	}
	return false
}

// CacheMountLayer packs the cache mount of an ID; nil if there is none. Nobody can use it
// meanwhile; ErrCacheMountInUse if somebody does. Equal files are equal layers.
func (s *Store) CacheMountLayer(ctx context.Context, id string, opt LayerOptions) (_ *CacheLayer, err error) {
	if _, err := opt.form(); err != nil {
		return nil, err
	}
	c, busy := s.takeCache(id, SharingLocked)
	if busy != nil {
		return nil, fmt.Errorf("cache mount %q: %w", id, ErrCacheMountInUse)
	}
	if c == nil {
		return nil, nil
	}
	ctx = s.Context(ctx)
	defer func() { err = errors.Join(err, c.Release(context.WithoutCancel(ctx))) }()
	dir, unmount, err := MountLocal(ctx, c, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	lost, err := whiteoutNames(ctx, dir)
	if err != nil {
		return nil, err
	}
	l := &CacheLayer{Lost: lost, CreatedAt: c.rec.facts.CreatedAt, Provider: s.back.content, s: s, lease: "cachelayer-" + identity.NewID()}
	if _, err := s.back.leases.Create(ctx, leases.WithID(l.lease)); err != nil {
		return nil, err
	}
	if l.Descriptor, err = s.packDir(leases.WithLease(ctx, l.lease), dir, opt); err != nil {
		return nil, errors.Join(fmt.Errorf("cache mount %q: %w", id, err), l.Release(context.WithoutCancel(ctx)))
	}
	return l, nil
}

// whiteoutNames finds the files in a directory whose names are those of whiteouts.
func whiteoutNames(ctx context.Context, dir string) (found []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != dir && strings.HasPrefix(e.Name(), whiteoutPrefix) {
			found = append(found, strings.TrimPrefix(path, dir))
		}
		return ctx.Err()
	})
	return found, err
}

// Release lets the layer go.
func (l *CacheLayer) Release(ctx context.Context) error {
	err := l.s.back.leases.Delete(l.s.Context(ctx), leases.Lease{ID: l.lease})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// packDir makes a layer of a directory. The lease of ctx holds it.
func (s *Store) packDir(ctx context.Context, dir string, opt LayerOptions) (_ ocispec.Descriptor, err error) {
	ref := "pack-" + identity.NewID()
	w, err := content.OpenWriter(ctx, s.back.content, content.WithRef(ref))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer func() {
		err = errors.Join(err, w.Close())
		if e := s.back.content.Abort(context.WithoutCancel(ctx), ref); e != nil && !errdefs.IsNotFound(e) {
			err = errors.Join(err, e)
		}
	}()
	diffID := digest.Canonical.Digester()
	err = compressTo(ctx, w, opt, func(zw io.Writer) error {
		return archive.WriteDiff(ctx, io.MultiWriter(zw, diffID.Hash()), "", dir)
	})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	label := map[string]string{labels.LabelUncompressed: diffID.Digest().String()}
	desc := ocispec.Descriptor{MediaType: opt.Compression.Type.MediaType(), Digest: w.Digest(), Annotations: label}
	if err := w.Commit(ctx, 0, desc.Digest, content.WithLabels(label)); err != nil && !errdefs.IsAlreadyExists(err) {
		return ocispec.Descriptor{}, err
	}
	info, err := s.back.content.Info(ctx, desc.Digest)
	desc.Size = info.Size
	return desc, err
}
