package store

import (
	"context"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// nsImages is an image store that is asked in our namespace.
type nsImages struct{ in images.Store }

func (s nsImages) Get(ctx context.Context, name string) (images.Image, error) {
	return s.in.Get(namespaces.WithNamespace(ctx, namespace), name)
}

func (s nsImages) List(ctx context.Context, filters ...string) ([]images.Image, error) {
	return s.in.List(namespaces.WithNamespace(ctx, namespace), filters...)
}

func (s nsImages) Create(ctx context.Context, image images.Image) (images.Image, error) {
	return s.in.Create(namespaces.WithNamespace(ctx, namespace), image)
}

func (s nsImages) Update(ctx context.Context, image images.Image, fieldpaths ...string) (images.Image, error) {
	return s.in.Update(namespaces.WithNamespace(ctx, namespace), image, fieldpaths...)
}

func (s nsImages) Delete(ctx context.Context, name string, opts ...images.DeleteOpt) error {
	return s.in.Delete(namespaces.WithNamespace(ctx, namespace), name, opts...)
}
