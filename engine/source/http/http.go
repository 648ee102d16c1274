// Package http is the source of files on web servers: https://... and http://...
//
// A file is known by the digest of its bytes and by when the server says that it was
// changed (Last-Modified), which is its time in the tree. To find that out it has to be
// fetched, unless the server says that it is still what it was (ETag, Last-Modified):
// what was fetched is kept, and so is what the server said about it, across builds.
// Within a build a file is asked for once, and held until the build ends. A file whose checksum is given is known by
// that, without asking anybody, and so its time is always 1970.
//
// http://buildkit-session/... is what the caller of a build uploads by its session.
//
// What a session lends to authenticate is bound to a scheme, a host and a port: see
// authorization. It is looked up again for each place that a redirect leads to.
package http

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/urlutil"
	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/provenance"
	"github.com/tenonbuild/tenon/engine/registry"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/perbuild"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/source/internal/trees"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/regular"
)

// Options are what a Source works with.
type Options struct {
	Store    *store.Store
	Sessions *session.Sessions
	// Transport makes the requests; nil is net/http's, with the proxies of the
	// environment.
	Transport http.RoundTripper
	// Attempts is how often a download is begun that a server or the net breaks
	// off; 0 is 5. Wait is how long to wait before the second, and doubles; 0 is
	// half a second. Stall is for how long a server may send nothing while we wait for it; 0 is a minute.
	Attempts int
	Wait     time.Duration
	Stall    time.Duration
}

// Source serves http:// and https://.
type Source struct {
	opt    Options
	client *http.Client
	index  index
	memo   perbuild.Memo[found]
	holds  perbuild.Holds[*store.Ref]
}

var _ source.Source = (*Source)(nil)
var _ source.Holder = (*Source)(nil)
var _ source.MetaResolver = (*Source)(nil)

// New makes a Source. Its state is below the store's Path("http").
func New(opt Options) (*Source, error) {
	if opt.Transport == nil {
		opt.Transport = http.DefaultTransport
	}
	if opt.Attempts == 0 {
		opt.Attempts = 5
	}
	if opt.Wait == 0 {
		opt.Wait = 500 * time.Millisecond
	}
	if opt.Stall == 0 {
		opt.Stall = time.Minute
	}
	dir := opt.Store.Path("http")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("http source: %w", err)
	}
	if err := regular.Sweep(dir); err != nil {
		return nil, fmt.Errorf("http source: %w", err)
	}
	opt.Store.Register("http", notes{dir})
	client := &http.Client{Transport: uploads{base: registry.CutStalled(opt.Transport, opt.Stall), sessions: opt.Sessions}}
	return &Source{opt: opt, client: client, index: index{dir: dir}}, nil
}

// Schemes implements source.Source.
func (s *Source) Schemes() []string { return []string{"http", "https"} }

// BeginBuild implements source.Holder.
func (s *Source) BeginBuild(build string) { s.holds.Begin(build) }

// EndBuild implements source.Holder.
func (s *Source) EndBuild(ctx context.Context, build string) (err error) {
	for _, ref := range s.holds.End(build) {
		err = errors.Join(err, ref.Release(ctx))
	}
	return err
}

// request is what is asked for: what a file is, apart from its bytes, and how it is
// asked for.
type request struct {
	URL      string
	Filename string // "" is what the server or the URL says
	Perm     uint32
	UID, GID int
	// Secret is the name of the secret that is the Authorization header; "" for
	// those that are tried.
	Secret string
	Header []field
	// perm is Perm as it was asked for: 0 if it was not.
	perm     int
	Checksum digest.Digest `json:"-"` // "" if it may be anything
	// Signature is to be one of the file, with one of Keys; both may be "".
	Signature, Keys string `json:"-"`
}

type field struct{ Name, Value string }

// upload says whether it is what the caller of the build uploads.
func (r request) upload() bool {
	u, err := url.Parse(r.URL)
	return err == nil && uploaded(u)
}

// Parse implements source.Source.
func (s *Source) Parse(op *pb.SourceOp, _ *pb.Platform) (source.Instance, error) {
	r, err := parse(op)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", redact(op.GetIdentifier()), err)
	}
	return &instance{source: s, request: r}, nil
}

func parse(op *pb.SourceOp) (request, error) {
	r := request{URL: op.GetIdentifier(), Perm: trees.DefaultPerm}
	u, err := url.Parse(r.URL)
	if err != nil {
		return r, errors.New("the URL cannot be read") // url's error would show its password
	}
	if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return r, errors.New("the URL should look like https://host/path")
	}
	for k, v := range op.GetAttrs() {
		if err := r.attr(k, v); err != nil {
			return r, err
		}
	}
	if err := r.checkSigned(); err != nil {
		return r, err
	}
	slices.SortFunc(r.Header, func(a, b field) int { return cmp.Compare(a.Name, b.Name) })
	return r, nil
}

func (r *request) attr(k, v string) (err error) {
	switch k {
	case pb.AttrHTTPChecksum:
		if r.Checksum, err = digest.Parse(v); err != nil {
			return fmt.Errorf("checksum %q: it should look like sha256: and 64 hexadecimal digits: %w", v, err)
		}
	case pb.AttrHTTPFilename:
		r.Filename = v
	case pb.AttrHTTPPerm:
		r.Perm, r.perm, err = trees.Perm(v)
	case pb.AttrHTTPUID:
		r.UID, err = trees.Owner(v)
	case pb.AttrHTTPGID:
		r.GID, err = trees.Owner(v)
	case pb.AttrHTTPAuthHeaderSecret:
		r.Secret = v
	case pb.AttrHTTPSignatureVerify:
		r.Signature = v
	case pb.AttrHTTPSignatureVerifyPubKey:
		r.Keys = v
	default:
		return r.other(k, v)
	}
	return err
}

// other takes what is no plain attribute. Headers that could change what is
// answered, and are not passed on by BuildKit either, are refused.
func (r *request) other(k, v string) error {
	name, ok := strings.CutPrefix(k, pb.AttrHTTPHeaderPrefix)
	if !ok {
		if strings.HasPrefix(k, "http.") {
			return fmt.Errorf("the attribute %s is unknown", k)
		}
		return nil
	}
	name = http.CanonicalHeaderKey(name)
	if name != "Accept" && name != "User-Agent" {
		return fmt.Errorf("the header %s cannot be set: only Accept and User-Agent can, and Authorization by a secret", name)
	}
	if strings.ContainsAny(v, "\r\n\x00") {
		return fmt.Errorf("the header %s has a line break", name)
	}
	r.Header = append(r.Header, field{name, v})
	return nil
}

// instance is one operation. Its state is that of one op, whose calls do not
// overlap.
type instance struct {
	source  *Source
	request request
	known   *found // nil until it is
	signed  bool   // as was asked for
}

// CacheKey implements source.Instance: the digest of the file, its time, and how it is
// stored.
func (i *instance) CacheKey(ctx context.Context, _ int) (string, bool, error) {
	f, err := i.verified(ctx)
	if err != nil {
		return "", false, err
	}
	r := i.request
	key := fmt.Sprintf("http file %s %#o %d:%d %q", f.Digest, r.Perm, r.UID, r.GID, f.Filename)
	if !f.LastModified.IsZero() {
		key += " of " + f.LastModified.UTC().Format(time.RFC3339)
	}
	return key, true, nil
}

// BuildKitKey implements source.BuildKitKeyer. It tells all, and what does not matter: how
// the file was asked for.
func (i *instance) BuildKitKey(ctx context.Context) (key string, whole bool, err error) {
	f, err := i.verified(ctx)
	if err != nil {
		return "", false, err
	}
	r := i.request
	about := struct {
		Filename         string
		Perm, UID, GID   int
		Checksum         digest.Digest
		LastModTime      string  `json:",omitempty"`
		AuthHeaderSecret string  `json:",omitempty"`
		Header           []field `json:",omitempty"`
	}{Filename: f.Filename, Perm: r.perm, UID: r.UID, GID: r.GID, Checksum: f.Digest, AuthHeaderSecret: r.Secret, Header: r.Header}
	if !f.LastModified.IsZero() {
		about.LastModTime = f.LastModified.UTC().Format(http.TimeFormat)
	}
	dt, err := json.Marshal(about)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", redact(r.URL), err)
	}
	return digest.FromBytes(dt).String(), true, nil
}

// find tells what the file is, with as little as serves: if a checksum says it,
// without asking anybody.
func (i *instance) find(ctx context.Context) (found, error) {
	if i.known != nil {
		return *i.known, nil
	}
	if r := i.request; r.Checksum != "" {
		// Not what a server says, the time included: the key must not depend on whether
		// it is asked.
		i.known = &found{Digest: r.Checksum, Filename: r.name(nil)}
		return *i.known, nil
	}
	f, err := i.fetch(ctx)
	if err != nil {
		return found{}, err
	}
	i.known = &f
	return f, nil
}

// fetch tells what the file is, having it in the store, once a build.
func (i *instance) fetch(ctx context.Context) (found, error) {
	f, err := i.source.memo.Do(ctx, i.request.key(), func() (found, error) {
		return i.source.fetch(ctx, i.request)
	})
	if err != nil {
		return found{}, fmt.Errorf("%s: %w", redact(i.request.URL), err)
	}
	return f, nil
}

// Describe implements source.Describer.
func (i *instance) Describe(ctx context.Context, to *provenance.Capture) error {
	f, err := i.find(ctx)
	if err == nil {
		to.AddHTTP(types.HTTPSource{URL: i.request.URL, Digest: f.Digest})
	}
	return err
}

// Snapshot implements source.Instance.
func (i *instance) Snapshot(ctx context.Context) (*store.Ref, error) {
	want, err := i.verified(ctx)
	if err != nil {
		return nil, err
	}
	ref, err := i.source.snapshot(ctx, i.request, want)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", redact(i.request.URL), err)
	}
	return ref, nil
}

// redact takes the name and the password out of a URL: a name alone may be a token.
func redact(s string) string {
	if _, err := url.Parse(s); err != nil {
		scheme, rest, _ := strings.Cut(s, "://")
		if at := strings.LastIndex(rest, "@"); at >= 0 {
			return scheme + "://" + rest[at+1:]
		}
		return s
	}
	return urlutil.RedactCredentials(s)
}
