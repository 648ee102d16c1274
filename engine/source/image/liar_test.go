package image_test

import (
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/tenonbuild/tenon/internal/check"
)

// An image that claims another's contents does not get into its way, also while
// both are in use.
func TestLiarDoesNotPoison(t *testing.T) {
	w := newWorld(t)
	honest := picture(t, runtime.GOARCH, layer(t, "a", "1"))
	liar := configured(t, picture(t, runtime.GOARCH, layer(t, "a", "evil")), func(c *v1.ConfigFile) {
		h, err := honest.ConfigFile()
		check.OK(t, err)
		c.RootFS = h.RootFS
	})
	bad := w.snapshot(w.reg.Put(t, "liar:1", liar))
	_, err := w.read(bad, "a")
	check.Says(t, err, "the image says")
	good := w.snapshot(w.reg.Put(t, "honest:1", honest))
	got, err := w.read(good, "a")
	if err != nil {
		t.Errorf("honest image: %v", err)
	}
	check.Equal(t, "files", got, "1")
	check.OK(t, bad.Release(t.Context()))
	check.OK(t, good.Release(t.Context()))
}
