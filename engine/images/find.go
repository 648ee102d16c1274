package images

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

// Found is an image, and by what it was found.
type Found struct {
	*Image
	// Name is the name that was given, in full; "" if it was a digest.
	Name string
}

// hex is what a digest or the beginning of one can be.
var hex = regexp.MustCompile(`^(sha256:)?[0-9a-f]{1,64}$`)

// Find finds an image by its name, by the digest of its manifest, index or
// configuration, or by the beginning of one, if no other image has it. A whole digest
// goes before a name, and a name before the beginning of a digest. The error wraps
// errdefs.ErrNotFound if there is none.
func (x *Images) Find(ctx context.Context, ref string) (*Found, error) {
	all, err := x.List(ctx)
	if err != nil {
		return nil, err
	}
	return FindIn(all, ref)
}

// FindIn is Find among the images that List has returned.
func FindIn(all []*Image, ref string) (*Found, error) {
	if hex.MatchString(ref) && len(strings.TrimPrefix(ref, "sha256:")) == 64 {
		if f, err := byDigest(all, ref); f != nil || err != nil {
			return f, err
		}
	}
	if f := byName(all, ref); f != nil {
		return f, nil
	}
	if hex.MatchString(ref) {
		if f, err := byDigest(all, ref); f != nil || err != nil {
			return f, err
		}
	}
	return nil, fmt.Errorf("there is no image %q: see tenon images (%w)", ref, errdefs.ErrNotFound)
}

func byName(all []*Image, ref string) *Found {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil
	}
	full := reference.TagNameOnly(named).String()
	for _, img := range all {
		if slices.Contains(img.Names, full) {
			return &Found{img, full}
		}
	}
	// NAME@DIGEST is an image of that digest that has a tag of that repository.
	digested, ok := named.(reference.Digested)
	if !ok {
		return nil
	}
	for _, img := range all {
		has := func(name string) bool {
			n, err := reference.ParseNormalizedNamed(name)
			return err == nil && n.Name() == named.Name()
		}
		if slices.Contains(img.digests(), digested.Digest()) && slices.ContainsFunc(img.Names, has) {
			return &Found{Image: img}
		}
	}
	return nil
}

// byDigest finds the only image of which a digest begins so; nil if there is none.
func byDigest(all []*Image, ref string) (*Found, error) {
	prefix := "sha256:" + strings.TrimPrefix(ref, "sha256:")
	var found []*Image
	for _, img := range all {
		for _, d := range img.digests() {
			if strings.HasPrefix(d.String(), prefix) {
				found = append(found, img)
				break
			}
		}
	}
	// Of images of one configuration it is that whose target begins so, or that has a name.
	for _, less := range []func(*Image) bool{
		func(img *Image) bool { return !strings.HasPrefix(img.Target.Digest.String(), prefix) },
		func(img *Image) bool { return len(img.Names) == 0 },
	} {
		if rest := slices.DeleteFunc(slices.Clone(found), less); len(rest) == 1 {
			found = rest
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return &Found{Image: found[0]}, nil
	}
	var which []string
	for _, img := range found {
		which = append(which, img.Target.Digest.String())
	}
	return nil, fmt.Errorf("image %q: %d images begin so, or have this configuration: say which one: %s", ref, len(found), strings.Join(which, ", "))
}
