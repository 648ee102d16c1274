package dockerfile

import (
	"testing"

	"github.com/distribution/reference"
)

// The built-in frontend serves for images of the versions that it covers, and for no image
// that is pinned.
func TestCovers(t *testing.T) {
	for name, want := range map[string]bool{
		"docker/dockerfile":                 true,
		"docker/dockerfile:1":               true,
		"docker/dockerfile:1.4":             true,
		"docker/dockerfile:1.27.3":          true,
		"docker/dockerfile:1.20-labs":       true,
		"docker/dockerfile:labs":            true,
		"docker/dockerfile-upstream:master": true,
		"docker/dockerfile:1.28":            false,
		"docker/dockerfile:2":               false,
		"docker/dockerfile:1.x":             false,
		"docker/dockerfile:1.4-other":       false,
		"other/dockerfile:1":                false,
		"localhost:5000/docker/dockerfile":  false,
		"docker/dockerfile:1@sha256:4b50a0a3d5a5d4ae4ed3bd2b1f4f2c7dcc9a2b1b1b4b8d1bb0b9d8de2d6f2a17": false,
	} {
		ref, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		if covers(ref) != want {
			t.Errorf("%s: covered: %v", name, !want)
		}
	}
}
