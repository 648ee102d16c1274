package remotecache

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/objects"
	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/session"
)

// Backend is a kind of place for caches.
type Backend struct {
	// Source finds a place to read from. Nothing is asked yet. Nil: there is nothing to
	// be read by this type.
	Source func(a *attrs) Source
	// Destination finds a place to write to. Nil: it is not written by itself.
	Destination func(a *attrs) Destination
	// Unsigned says that its caches have no signatures.
	Unsigned bool
}

// Deps are what the built-in backends work with.
type Deps struct {
	Sessions *session.Sessions
	Registry *registry.Registry
	// Objects makes the requests to stores of objects; nil is objects.NewTransport.
	Objects http.RoundTripper
}

// TypeInline is the type of a cache that is written into images.
const TypeInline = "inline"

// Builtin are the backends by type.
func Builtin(d Deps) map[string]Backend {
	if d.Objects == nil {
		d.Objects = objects.NewTransport()
	}
	return map[string]Backend{
		"local": {
			Source: func(a *attrs) Source {
				root := digest.Digest(a.needed("digest"))
				if err := root.Validate(); err != nil {
					a.fail("digest=%q: %w", root, err)
				}
				return folderSource{Folder{d.Sessions, a.needed("src")}, root, a.trust()}
			},
			Destination: func(a *attrs) Destination {
				return &folderDestination{Folder: Folder{d.Sessions, a.needed("dest")}, form: a.form(d.Sessions)}
			},
		},
		TypeInline: {Unsigned: true},
		"s3":       s3(d),
		"gha":      gha(d),
		"azblob":   azblob(d),
		"registry": {
			Source: func(a *attrs) Source { return d.registryPlace(a) },
			Destination: func(a *attrs) Destination {
				return &registryDestination{registryPlace: d.registryPlace(a), form: a.form(d.Sessions)}
			},
		},
	}
}

// From finds the place of a cache that is read.
func From(backends map[string]Backend, o Option) (Source, error) {
	b, err := backendOf(backends, o)
	if err != nil {
		return nil, err
	}
	if b.Source == nil {
		return nil, fmt.Errorf("cache type=%s cannot be read by this type: name the image with type=registry,ref=NAME", o.Type)
	}
	a := b.attrs(o)
	src := b.Source(a)
	return src, a.err
}

// To finds the place of a cache that is written, and what is to be written. The Destination
// of an inline cache is nil.
func To(backends map[string]Backend, o Option) (Destination, Extent, error) {
	b, err := backendOf(backends, o)
	if err != nil {
		return nil, Extent{}, err
	}
	a := b.attrs(o)
	e := a.extent()
	var to Destination
	if b.Destination != nil {
		to = b.Destination(a)
	}
	return to, e, a.err
}

// attrs are the attributes of a cache at the backend.
func (b Backend) attrs(o Option) *attrs {
	a := &attrs{Option: o}
	for _, key := range []string{"sign", "verify"} {
		if _, ok := o.Attrs[key]; ok && b.Unsigned {
			a.fail("%s is not for this type: its caches have no signatures", key)
		}
	}
	return a
}

func backendOf(backends map[string]Backend, o Option) (Backend, error) {
	b, ok := backends[o.Type]
	if !ok {
		return b, fmt.Errorf("cache type=%s is not known: there are %s", o.Type, strings.Join(slices.Sorted(maps.Keys(backends)), ", "))
	}
	return b, nil
}

// Key names a cache by all that was said of it.
func (o Option) Key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", o.Type)
	for _, k := range slices.Sorted(maps.Keys(o.Attrs)) {
		fmt.Fprintf(h, " %q=%q", k, o.Attrs[k])
	}
	return o.Name() + "@" + hex.EncodeToString(h.Sum(nil))[:16]
}
