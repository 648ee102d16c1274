package remotecache

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/internal/check"
)

func mountJSON(id, mediaType string, size int) string {
	d := digest.FromString(id)
	return fmt.Sprintf(`{"id":%q,"mediaType":%q,"blob":%q,"size":%d,"diffID":%q,"createdAt":"2026-01-02T03:04:05Z"}`, id, mediaType, d, size, d)
}

func config(mounts ...string) []byte {
	return []byte(`{"tenon.mounts":[` + strings.Join(mounts, ",") + `]}`)
}

const layerType = "application/vnd.oci.image.layer.v1.tar+gzip"

// What a config says of cache mounts is read, and written again as it was.
func TestMounts(t *testing.T) {
	in := config(mountJSON("/a", layerType, 1), mountJSON("//b", layerType, 2))
	g, err := Decode(in, nil)
	check.OK(t, err)
	check.Equal(t, "mounts", len(g.mounts), 2)
	out, blobs, err := g.Encode()
	check.OK(t, err)
	check.Equal(t, "blobs", len(blobs), 2)
	again, err := Decode(out, nil)
	check.OK(t, err)
	check.Equal(t, "again", fmt.Sprint(again.configMounts()), fmt.Sprint(g.configMounts()))
}

// What is no cache mount is an error.
func TestBadMounts(t *testing.T) {
	many := make([]string, maxMounts+1)
	for i := range many {
		many[i] = mountJSON(fmt.Sprint("/", i), layerType, 1)
	}
	for what, in := range map[string][]byte{
		"no ID":         config(mountJSON("", layerType, 1)),
		"a long ID":     config(mountJSON(strings.Repeat("x", maxMountID+1), layerType, 1)),
		"an ID twice":   config(mountJSON("/a", layerType, 1), mountJSON("/a", layerType, 1)),
		"no layer":      config(mountJSON("/a", "text/plain", 1)),
		"negative":      config(mountJSON("/a", layerType, -1)),
		"no digest":     config(`{"id":"/a","mediaType":"` + layerType + `","blob":"sha256:1","diffID":"x"}`),
		"too many":      config(many...),
		"another shape": []byte(`{"tenon.mounts":{"a":1}}`),
	} {
		if _, err := Decode(in, nil); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
