package remotecache

import (
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/objects"
)

// s3 is the backend for S3, with BuildKit's attributes and keys.
func s3(d Deps) Backend {
	place := func(a *attrs) objectPlace {
		bucket, err := objects.S3{
			Bucket: a.needed("bucket"), Region: a.needed("region"), Endpoint: a.Attrs["endpoint_url"],
			PathStyle:   a.boolean("use_path_style", false),
			AccessKeyID: a.Attrs["access_key_id"], SecretAccessKey: a.Attrs["secret_access_key"], SessionToken: a.Attrs["session_token"],
		}.Open(d.Objects)
		if err != nil {
			a.fail("%w", err)
			return objectPlace{}
		}
		prefix := a.Attrs["prefix"]
		blobs, manifests := prefix+a.or("blobs_prefix", "blobs/"), prefix+a.or("manifests_prefix", "manifests/")
		p := objectPlace{store: bucket, blob: func(of digest.Digest) string { return blobs + of.String() }}
		p.trust, p.sign = a.trust(), a.signer(d.Sessions)
		for _, name := range a.names() {
			p.read = append(p.read, manifests+name)
		}
		p.write = p.read
		return p
	}
	return Backend{
		Source: func(a *attrs) Source { return place(a) },
		Destination: func(a *attrs) Destination {
			return &objectDestination{
				objectPlace: place(a),
				fresh:       a.duration("touch_refresh", 24*time.Hour) / 2,
				uploads:     a.count("upload_parallelism", parallel, maxUploads),
				lists:       true,
			}
		},
	}
}

// names are what a cache is called in a store of objects.
func (a *attrs) names() []string {
	var out []string
	for name := range strings.SplitSeq(a.or("name", "buildkit"), ";") {
		if name == "" {
			a.fail("name=%q: one of the names is empty", a.Attrs["name"])
		}
		out = append(out, name)
	}
	if len(out) > maxNames {
		a.fail("name: there are %d, and at most %d are taken", len(out), maxNames)
	}
	return out
}

const (
	// maxNames bounds the names of a cache, maxUploads how many layers are brought at a time.
	maxNames   = 32
	maxUploads = 64
)
