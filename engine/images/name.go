package images

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/store"
)

// Tag gives the image that ref names another name.
func (x *Images) Tag(ctx context.Context, ref, name string) error {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return badName(name, err)
	}
	if _, ok := named.(reference.Digested); ok {
		return fmt.Errorf("image name %q: a digest follows from the image and cannot be given", name)
	}
	// What is found must not go before it has the name.
	ctx, release, err := x.st.WithLease(ctx)
	if err != nil {
		return err
	}
	found, err := x.Find(ctx, ref)
	if err == nil {
		err = x.st.Tag(ctx, reference.TagNameOnly(named).String(), found.Target)
	}
	return errors.Join(err, release(ctx))
}

// Removed is what was removed of an image.
type Removed struct {
	// Names are the names that it has lost, in full.
	Names []string
	// Digest is that of its manifest or index, if the image itself is gone; "" if it
	// has other names.
	Digest digest.Digest
}

// Remove removes names, and images that have no other. A digest stands for all names of
// the image: if there are several, that is refused unless forced. What nothing else
// holds is off the disk when it returns. Images that are not there are an error; the
// others are removed all the same.
func (x *Images) Remove(ctx context.Context, refs []string, force bool) (out []Removed, _ error) {
	all, err := x.List(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	var errs []error
	for _, ref := range refs {
		found, err := FindIn(all, ref)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		gone, records, err := found.without(ref, force)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, gone)
		names = append(names, records...)
		all = forget(all, found.Image, gone)
	}
	if len(names) > 0 {
		errs = append(errs, x.st.Untag(ctx, names...))
	}
	return out, errors.Join(errs...)
}

// without is what is removed of a found image, and the names in the store of it.
func (f *Found) without(ref string, force bool) (gone Removed, records []string, _ error) {
	if f.Name != "" && len(f.Names) > 1 {
		return Removed{Names: []string{f.Name}}, []string{f.Name}, nil
	}
	if len(f.Names) > 1 && !force {
		var names []string
		for _, n := range f.Names {
			names = append(names, Familiar(n))
		}
		return gone, nil, fmt.Errorf("image %q has %d names (%s): remove these, or all with --force", ref, len(names), strings.Join(names, ", "))
	}
	for _, rec := range f.records {
		records = append(records, rec.Name)
	}
	return Removed{Names: f.Names, Digest: f.Target.Digest}, records, nil
}

// forget is a list without what was removed.
func forget(all []*Image, img *Image, gone Removed) (out []*Image) {
	for _, i := range all {
		if i != img {
			out = append(out, i)
			continue
		}
		if gone.Digest != "" {
			continue
		}
		rest := &Image{Target: i.Target, Platforms: i.Platforms, Size: i.Size, Updated: i.Updated}
		for _, rec := range i.records {
			if rec.Name == gone.Names[0] {
				continue
			}
			rest.records = append(rest.records, rec)
			if !store.IsUntagged(rec.Name) {
				rest.Names = append(rest.Names, rec.Name)
			}
		}
		out = append(out, rest)
	}
	return out
}

// PruneOptions choose what Prune removes. The zero value removes all that have lost
// their names.
type PruneOptions struct {
	// All removes images with names, too.
	All bool
	// Until keeps what was made or named since so long.
	Until time.Duration
	// Labels are labels that an image must have, as KEY or KEY=VALUE; NoLabels are those
	// that it must not have.
	Labels, NoLabels []string
	// References are patterns, of which a name must match one: see path.Match.
	References []string
}

// Prune removes images, and returns what it has removed.
func (x *Images) Prune(ctx context.Context, opt PruneOptions) ([]Removed, error) {
	all, err := x.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []Removed
	var names []string
	for _, img := range all {
		if len(img.Names) > 0 && !opt.All || !opt.Match(img, time.Now()) {
			continue
		}
		out = append(out, Removed{Names: img.Names, Digest: img.Target.Digest})
		for _, rec := range img.records {
			names = append(names, rec.Name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	return out, x.st.Untag(ctx, names...)
}

// Match says whether an image meets the conditions, whatever All says.
func (o PruneOptions) Match(img *Image, now time.Time) bool {
	if o.Until > 0 && now.Sub(img.Updated) < o.Until {
		return false
	}
	for _, l := range o.Labels {
		if !img.HasLabel(l) {
			return false
		}
	}
	for _, l := range o.NoLabels {
		if img.HasLabel(l) {
			return false
		}
	}
	return len(o.References) == 0 || img.MatchesReference(o.References)
}

// HasLabel says whether the image for the first platform has a label: KEY or KEY=VALUE.
func (i *Image) HasLabel(label string) bool {
	if len(i.Platforms) == 0 || i.Platforms[0].Image == nil {
		return false
	}
	key, value, valued := strings.Cut(label, "=")
	got, ok := i.Platforms[0].Image.Config.Labels[key]
	return ok && (!valued || got == value)
}

// MatchesReference says whether a name matches one of some patterns, in full or as
// people give it, with the tag or without.
func (i *Image) MatchesReference(patterns []string) bool {
	for _, name := range i.Names {
		familiar := Familiar(name)
		repository := familiar
		if n, err := reference.ParseNormalizedNamed(name); err == nil {
			repository = reference.FamiliarName(n)
		}
		for _, p := range patterns {
			for _, s := range []string{name, familiar, repository} {
				if ok, _ := path.Match(p, s); ok {
					return true
				}
			}
		}
	}
	return false
}
