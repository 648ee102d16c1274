package history_test

import (
	"testing"

	"github.com/containerd/containerd/v2/core/content"

	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/internal/check"
)

// Before anything was recorded there are no blobs, which is no error.
func TestEmpty(t *testing.T) {
	s := open(t, t.TempDir(), history.DefaultLimits)
	n := 0
	check.OK(t, s.Blobs().Walk(t.Context(), func(content.Info) error { n++; return nil }))
	check.Equal(t, "blobs", n, 0)
}
