package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// listing lists an archive: a line a path, without what is in the base image, and
// with what of that is missing. Based is the layer of the base image.
func listing(t *testing.T, archive, based []byte, times bool) string {
	t.Helper()
	got := entries(t, archive, times)
	base := entries(t, based, times)
	if got[busybox] == base[busybox] {
		for p, line := range base {
			switch got[p] {
			case line:
				delete(got, p)
			case "":
				got[p] = "- " + p
			}
		}
	}
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(got)) {
		fmt.Fprintln(&b, got[p])
	}
	return b.String()
}

const busybox = "bin/busybox"

func entries(t *testing.T, archive []byte, times bool) map[string]string {
	t.Helper()
	out := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		noError(t, err)
		dt, err := io.ReadAll(r)
		noError(t, err)
		p := path.Clean(h.Name)
		if _, twice := out[p]; twice {
			t.Errorf("%s is in the archive twice", p)
		}
		out[p] = entry(h, p, dt, times)
	}
}

// entry is a line about a path of an archive.
func entry(h *tar.Header, name string, dt []byte, times bool) string {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '"' }) {
		name = fmt.Sprintf("%q", name)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%04o %d:%d %s", kinds[h.Typeflag], h.Mode, h.Uid, h.Gid, name)
	switch h.Typeflag {
	case tar.TypeDir:
		b.WriteByte('/')
	case tar.TypeSymlink:
		fmt.Fprintf(&b, " -> %s", h.Linkname)
	case tar.TypeLink:
		fmt.Fprintf(&b, " == %s", h.Linkname)
	case tar.TypeChar, tar.TypeBlock:
		fmt.Fprintf(&b, " %d,%d", h.Devmajor, h.Devminor)
	case tar.TypeReg:
		if len(dt) <= 100 {
			fmt.Fprintf(&b, " %q", dt)
		} else {
			fmt.Fprintf(&b, " %d bytes, sha256:%.12x", len(dt), sha256.Sum256(dt))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if x, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			fmt.Fprintf(&b, " %s=%q", x, h.PAXRecords[k])
		}
	}
	if times {
		fmt.Fprintf(&b, " @%d", h.ModTime.Unix())
	}
	return b.String()
}

var kinds = map[byte]string{
	tar.TypeReg: "f", tar.TypeDir: "d", tar.TypeSymlink: "l", tar.TypeLink: "h",
	tar.TypeChar: "c", tar.TypeBlock: "b", tar.TypeFifo: "p",
}

// describeImage reads an image from an OCI layout.
func describeImage(t *testing.T, dir string, shows func(string) bool) (config, layers string) {
	t.Helper()
	ix, err := layout.ImageIndexFromPath(dir)
	noError(t, err)
	var c, l strings.Builder
	for _, img := range imagesOf(t, ix) {
		if shows("config") {
			dt, err := img.RawConfigFile()
			noError(t, err)
			describeConfig(t, &c, dt)
		}
		if shows("layers") {
			describeLayers(t, &l, img)
		}
	}
	return c.String(), l.String()
}

func imagesOf(t *testing.T, ix v1.ImageIndex) (list []v1.Image) {
	t.Helper()
	m, err := ix.IndexManifest()
	noError(t, err)
	for _, desc := range m.Manifests {
		if desc.MediaType.IsIndex() {
			below, err := ix.ImageIndex(desc.Digest)
			noError(t, err)
			list = append(list, imagesOf(t, below)...)
			continue
		}
		img, err := ix.Image(desc.Digest)
		noError(t, err)
		list = append(list, img)
	}
	return list
}

// describeConfig writes what of an image's configuration does not depend on the
// machine and the time.
func describeConfig(t *testing.T, w io.Writer, dt []byte) {
	t.Helper()
	var img ocispec.Image
	noError(t, json.Unmarshal(dt, &img))
	var raw struct{ Config map[string]json.RawMessage }
	noError(t, json.Unmarshal(dt, &raw))
	fmt.Fprintf(w, "platform %s/%s\n", img.OS, img.Architecture)
	for _, k := range slices.Sorted(maps.Keys(raw.Config)) {
		if v := string(raw.Config[k]); v != "null" && v != `""` {
			fmt.Fprintf(w, "%s %s\n", k, v)
		}
	}
	for _, h := range img.History {
		empty := ""
		if h.EmptyLayer {
			empty = " (no layer)"
		}
		fmt.Fprintf(w, "history %s%s\n", oneLine(h.CreatedBy, 120), empty)
	}
	fmt.Fprintf(w, "layers %d\n", len(img.RootFS.DiffIDs))
}

func describeLayers(t *testing.T, w io.Writer, img v1.Image) {
	t.Helper()
	list, err := img.Layers()
	noError(t, err)
	for i, l := range list {
		rc, err := l.Uncompressed()
		noError(t, err)
		dt, err := io.ReadAll(rc)
		noError(t, errors.Join(err, rc.Close()))
		all := entries(t, dt, false)
		if _, based := all[busybox]; based && i == 0 {
			fmt.Fprintln(w, "layer 0 is the base")
			continue
		}
		fmt.Fprintf(w, "layer %d\n", i)
		for _, p := range slices.Sorted(maps.Keys(all)) {
			fmt.Fprintln(w, all[p])
		}
	}
}
