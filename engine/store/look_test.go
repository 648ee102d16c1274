package store

import (
	"errors"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
	"github.com/tenonbuild/tenon/solver"
)

// To look at a tree is no use of it, and keeps nothing. What is not here is not fetched.
func TestLook(t *testing.T) {
	testenv.Root(t)
	ctx := t.Context()
	s, err := Open(ctx, Options{Root: t.TempDir()})
	check.OK(t, err)
	defer func() { check.OK(t, s.Close()) }()
	m, err := s.New(ctx, nil, NewOptions{})
	check.OK(t, err)
	made, err := m.Commit(ctx)
	check.OK(t, err)
	id := made.ID()
	check.OK(t, made.Release(ctx))
	uses := func() int {
		s.index.mu.Lock()
		defer s.index.mu.Unlock()
		return s.index.records[id].facts.Uses
	}
	before := uses()
	ref, err := s.Look(ctx, id)
	check.OK(t, err)
	again := ref.Clone()
	_, unmount, err := ReadLocal(ctx, again)
	check.OK(t, err)
	check.OK(t, unmount())
	if err := ref.SetValue("k", []byte("v")); err == nil {
		t.Error("something was kept with a tree that is only looked at")
	}
	check.OK(t, errors.Join(ref.Release(ctx), again.Release(ctx)))
	check.Equal(t, "uses", uses(), before)
	if _, err := s.Look(ctx, "nothing"); !errors.Is(err, solver.ErrNotFound) {
		t.Errorf("a record that is not there: %v", err)
	}

	imagined := s.Imagine("imagined")
	check.OK(t, imagined.SetValue("k", []byte("v")))
	dt, err := imagined.Value("k")
	check.OK(t, err)
	check.Equal(t, "what is kept", string(dt), "v")
	if _, _, err := ReadLocal(ctx, imagined); !errors.Is(err, ErrNotHere) || imagined.Here() {
		t.Errorf("a tree that is not there was read: %v", err)
	}
	check.OK(t, imagined.Release(ctx))

	diffID := "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	layer := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", Size: 1, Annotations: map[string]string{"containerd.io/uncompressed": diffID}}
	layers, err := s.ImagineLayers(ctx, []ocispec.Descriptor{layer})
	check.OK(t, err)
	o, err := layers.Origin()
	check.OK(t, err)
	check.Equal(t, "the chain ID", o.Layers.String(), diffID)
	check.OK(t, errors.Join(o.Release(ctx), layers.Release(ctx)))
}
