package store

import (
	"bytes"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/internal/check"
	"github.com/tenonbuild/tenon/internal/testenv"
)

// That a blob was seen to be sound is known for as long as there is one.
func TestSoundBlobsAreForgotten(t *testing.T) {
	testenv.Root(t)
	s, err := Open(t.Context(), Options{Root: t.TempDir()})
	check.OK(t, err)
	defer func() { check.OK(t, s.Close()) }()
	ctx, done, err := s.WithLease(s.Context(t.Context()))
	check.OK(t, err)
	for _, text := range []string{"a", "b", "c"} {
		desc := ocispec.Descriptor{Digest: digest.FromString(text), Size: 1}
		check.OK(t, content.WriteBlob(ctx, s.Content(), text, bytes.NewReader([]byte(text)), desc))
	}
	sound := s.back.content.(*checkedContent)
	check.Equal(t, "blobs", len(sound.sound), 3)
	check.OK(t, done(ctx))
	check.OK(t, s.Prune(ctx, PruneOptions{All: true}, func(UsageInfo) {}))
	sound.mu.Lock()
	defer sound.mu.Unlock()
	check.Equal(t, "blobs after a prune", len(sound.sound), 0)
}
