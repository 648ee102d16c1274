package blob

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source/ocilayout"
)

// Schemes of blobs.
const (
	registryScheme = "docker-image+blob"
	layoutScheme   = "oci-layout+blob"
)

// Locator is where a blob is.
type Locator struct {
	Ref    string // with its digest
	Digest digest.Digest
	// Local: it is in an OCI layout, the one of a name that a session has; "" is any
	// session that the work is for. Otherwise it is in a registry.
	Local           bool
	Session, Layout string
}

// ParseLocator reads what looks like docker-image+blob://name@digest, or
// oci-layout+blob://name@digest, whose layout is called like the name.
func ParseLocator(s string) (Locator, error) {
	scheme, ref, ok := strings.Cut(s, "://")
	if !ok || scheme != registryScheme && scheme != layoutScheme {
		return Locator{}, fmt.Errorf("%q: it should begin with %s:// or %s://", s, registryScheme, layoutScheme)
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return Locator{}, fmt.Errorf("%q: %w", s, err)
	}
	digested, ok := named.(reference.Digested)
	if !ok {
		return Locator{}, fmt.Errorf("%q: it should be name@digest, with the digest of the blob", s)
	}
	l := Locator{Ref: named.String(), Digest: digested.Digest(), Local: scheme == layoutScheme}
	if l.Local {
		name, _, _ := strings.Cut(ref, "@")
		l.Ref, l.Layout = ref, ocilayout.Untagged(name)
	}
	return l, nil
}

// String is what ParseLocator reads, but for where the layout is.
func (l Locator) String() string {
	if l.Local {
		return layoutScheme + "://" + l.Ref
	}
	return registryScheme + "://" + l.Ref
}

// Provenance is what provenance says of it.
func (l Locator) Provenance() types.ImageBlobSource {
	return types.ImageBlobSource{Ref: l.Ref, Digest: l.Digest, Local: l.Local}
}

// Places are where blobs are looked for.
type Places struct {
	Registry *registry.Registry
	Sessions *session.Sessions
}

// Open reads a blob. It does not end, but with an error, if what came is not what its digest
// says. The caller bounds what is read.
func (p Places) Open(ctx context.Context, l Locator) (io.ReadCloser, error) {
	rc, err := p.open(ctx, l)
	if err != nil {
		return nil, err
	}
	return &checked{ReadCloser: rc, want: l.Digest, sum: l.Digest.Algorithm().Digester()}, nil
}

// checked is a blob that is checked by its digest at its end.
type checked struct {
	io.ReadCloser
	want digest.Digest
	sum  digest.Digester
}

// Read implements io.Reader.
func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.sum.Hash().Write(p[:n]) // a hash does not fail
	if err != io.EOF {
		return n, err
	}
	if got := c.sum.Digest(); got != c.want {
		err = fmt.Errorf("blob digest mismatch: expected %s, got %s: it is damaged, or changed on the way", c.want, got)
	}
	return n, err
}

func (p Places) open(ctx context.Context, l Locator) (io.ReadCloser, error) {
	if !l.Local {
		return p.Registry.Blob(ctx, l.Ref, l.Digest)
	}
	layout := ocilayout.Layout{Sessions: p.Sessions, Session: l.Session, Name: l.Layout}
	ra, err := layout.ReaderAt(ctx, ocispec.Descriptor{Digest: l.Digest})
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(ra, 0, ra.Size()), ra}, nil
}
