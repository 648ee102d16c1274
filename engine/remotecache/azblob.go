package remotecache

import (
	"path"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/objects"
)

// azblob is the backend for Azure's blob storage, with BuildKit's attributes and keys.
func azblob(d Deps) Backend {
	place := func(a *attrs) objectPlace {
		store, err := objects.Azure{
			AccountURL: a.needed("account_url"), AccountName: a.Attrs["account_name"], Key: a.Attrs["secret_access_key"],
			Container: a.or("container", "buildkit-cache"),
		}.Open(d.Objects)
		if err != nil {
			a.fail("%w", err)
			return objectPlace{}
		}
		prefix, blobs, manifests := a.Attrs["prefix"], a.or("blobs_prefix", "blobs"), a.or("manifests_prefix", "manifests")
		p := objectPlace{store: store, blob: func(of digest.Digest) string { return path.Join(prefix, blobs, of.String()) }}
		p.trust, p.sign = a.trust(), a.signer(d.Sessions)
		for _, name := range a.names() {
			p.read = append(p.read, path.Join(prefix, manifests, name))
		}
		p.write = p.read
		return p
	}
	return Backend{
		Source: func(a *attrs) Source { return place(a) },
		Destination: func(a *attrs) Destination {
			return &objectDestination{objectPlace: place(a), fresh: 12 * time.Hour, uploads: parallel, lists: true}
		},
	}
}
