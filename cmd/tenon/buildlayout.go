package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/session/local"
)

// layout is an image in an OCI layout on this machine, as PATH[:TAG][@DIGEST]. Without
// both it is the one called latest, or the only one.
func (in *buildInput) layout(name, ref string) error {
	path, dgst, pinned := strings.Cut(ref, "@")
	path, tag := splitTag(path)
	if !pinned {
		desc, err := findInLayout(path, tag)
		if err != nil {
			return fmt.Errorf("OCI layout %s%w", path, err)
		}
		dgst = desc.Digest.String()
	}
	if _, err := digest.Parse(dgst); err != nil {
		return fmt.Errorf("digest %q: %w", dgst, err)
	}
	id := in.layoutName(name)
	in.layouts[id] = path
	in.attrs["context:"+name] = fmt.Sprintf("oci-layout://%s:%s@%s", id, cmp.Or(tag, "latest"), dgst)
	return nil
}

// findInLayout finds an image by its tag. Its errors follow the name of the layout.
func findInLayout(path, tag string) (ocispec.Descriptor, error) {
	all, err := local.LayoutIndex(path)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf(": %w", err)
	}
	var tags []string
	for _, desc := range all.Manifests {
		name := desc.Annotations[ocispec.AnnotationRefName]
		if want := cmp.Or(tag, "latest"); name == want || desc.Annotations[images.AnnotationImageName] == want {
			return desc, nil
		}
		tags = append(tags, cmp.Or(name, desc.Digest.String()))
	}
	switch {
	case len(tags) == 0:
		return ocispec.Descriptor{}, errors.New(" has no image")
	case tag != "":
		return ocispec.Descriptor{}, fmt.Errorf(" has no image %q: name one that it has, or a digest", tag)
	case len(tags) > 1:
		return ocispec.Descriptor{}, fmt.Errorf(" has %d images, none of which is called latest: name one of them, as in %s:TAG or %s@DIGEST: %s",
			len(tags), path, path, oneLine(strings.Join(tags, ", "), 300))
	}
	return all.Manifests[0], nil
}

// layoutName is a name for a layout that can stand in a reference, and that people
// see in what is kept of it.
func (in *buildInput) layoutName(context string) string {
	id := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, context), "-")
	for id == "" || in.layouts[id] != "" {
		id += "x"
	}
	return id
}

// splitTag takes a tag off a path; "" if it has none.
func splitTag(path string) (string, string) {
	if _, err := os.Stat(path); err == nil {
		return path, ""
	}
	if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		return path[:i], path[i+1:]
	}
	return path, ""
}
