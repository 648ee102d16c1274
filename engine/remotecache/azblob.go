package remotecache

import (
	"net/http"
	"path"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/objects"
)

// azblob is the backend for Azure's blob storage, with BuildKit's attributes and keys.
func azblob(t http.RoundTripper) Backend {
	place := func(a *attrs) objectPlace {
		store, err := objects.Azure{
			AccountURL: a.needed("account_url"), AccountName: a.Attrs["account_name"], Key: a.Attrs["secret_access_key"],
			Container: a.or("container", "buildkit-cache"),
		}.Open(t)
		if err != nil {
			a.fail("%w", err)
			return objectPlace{}
		}
		prefix, blobs, manifests := a.Attrs["prefix"], a.or("blobs_prefix", "blobs"), a.or("manifests_prefix", "manifests")
		p := objectPlace{store: store, blob: func(d digest.Digest) string { return path.Join(prefix, blobs, d.String()) }}
		for _, name := range a.names() {
			p.read = append(p.read, path.Join(prefix, manifests, name))
		}
		p.write = p.read
		return p
	}
	return Backend{
		Unsigned: true,
		Source:   func(a *attrs) Source { return place(a) },
		Destination: func(a *attrs) Destination {
			return &objectDestination{objectPlace: place(a), fresh: 12 * time.Hour, uploads: parallel}
		},
	}
}
