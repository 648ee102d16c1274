package objects

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// S3 is a bucket of S3, or of a store that is compatible with it.
type S3 struct {
	Bucket, Region string
	// Endpoint is the URL of the store; empty: that of AWS for the region.
	Endpoint string
	// PathStyle has the bucket in the path, not in the host's name.
	PathStyle bool
	// Without an ID of a key, requests are not signed.
	AccessKeyID, SecretAccessKey, SessionToken string

	client client
	base   *url.URL
	// whole is the largest object that is written in one request, part the least that one of
	// several has, copied the largest that is copied in one.
	whole, part, copied int64
}

var (
	_ Store   = (*S3)(nil)
	_ Toucher = (*S3)(nil)
)

// hostable are names of buckets that can be in a host's name.
var hostable = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// Open checks what is said of the bucket. Nothing is asked yet.
func (s S3) Open(t http.RoundTripper) (*S3, error) {
	if s.Bucket == "" || s.Region == "" {
		return nil, errors.New("the bucket and the region are needed")
	}
	if (s.AccessKeyID == "") != (s.SecretAccessKey == "") {
		return nil, errors.New("of access_key_id and secret_access_key there is only one")
	}
	endpoint := s.Endpoint
	if endpoint == "" {
		endpoint = "https://s3." + s.Region + ".amazonaws.com"
		if strings.HasPrefix(s.Region, "cn-") {
			endpoint += ".cn"
		}
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return nil, fmt.Errorf("endpoint_url=%q: say a URL as https://HOST", s.Endpoint)
	}
	inHost := hostable.MatchString(s.Bucket) && net.ParseIP(u.Hostname()) == nil &&
		!(u.Scheme == "https" && strings.Contains(s.Bucket, ".")) // no certificate has it
	root := strings.TrimSuffix(u.Path, "/") + "/"
	if inHost && (!s.PathStyle || s.Endpoint == "") {
		u.Host = s.Bucket + "." + u.Host
	} else {
		root += s.Bucket + "/"
	}
	s.base = &url.URL{Scheme: u.Scheme, Host: u.Host, Path: root}
	s.client = newClient(t)
	s.whole, s.part, s.copied = 128<<20, 64<<20, 5<<30
	return &s, nil
}

// nothing is the digest of an empty body; unsigned is said where the body's is not known.
var nothing = hexDigest(nil)

const unsigned = "UNSIGNED-PAYLOAD"

// request makes a request for a key, signed. The digest is that of its body, in hex.
func (s *S3) request(method, key string, query url.Values, digest string, fill func(*http.Request)) func() (*http.Request, error) {
	return func() (*http.Request, error) {
		u := *s.base
		u.Path += key
		u.RawPath = escaped(u.Path)
		u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
		req, err := http.NewRequest(method, u.String(), http.NoBody)
		if err != nil {
			return nil, err
		}
		req.Header.Set("X-Amz-Content-Sha256", digest)
		if fill != nil {
			fill(req)
		}
		if s.AccessKeyID == "" {
			return req, nil
		}
		key := aws.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken}
		err = v4.NewSigner().SignHTTP(req.Context(), key, req, digest, "s3", s.Region, time.Now(), func(o *v4.SignerOptions) {
			o.DisableURIPathEscaping = true
		})
		return req, err
	}
}

// escaped is a path as it is signed: only what RFC 3986 does not reserve is as it is.
func escaped(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(url.QueryEscape(p), "+", "%20")
	}
	return strings.Join(parts, "/")
}

// Get implements Store.
func (s *S3) Get(ctx context.Context, key string, offset int64) (*Object, error) {
	return s.client.object(ctx, offset, s.request(http.MethodGet, key, nil, nothing, nil))
}

// Put implements Store.
func (s *S3) Put(ctx context.Context, key string, b *Body) error {
	if b.size > s.whole {
		return s.parts(ctx, key, b.size, max(s.part, b.size/maxParts+1), func(req *http.Request, off, n int64) {
			send(req, b.section(off, n), n)
		})
	}
	_, _, err := s.client.answer(ctx, s.request(http.MethodPut, key, nil, b.digest.Encoded(), func(req *http.Request) {
		send(req, b.section(0, b.size), b.size)
	}))
	return err
}

// Replace implements Store.
func (s *S3) Replace(ctx context.Context, key string, b *Body) error { return s.Put(ctx, key, b) }

// Touch implements Toucher: an object that is copied onto itself is new.
func (s *S3) Touch(ctx context.Context, key string, size int64) error {
	source := escaped("/" + s.Bucket + "/" + key)
	if size >= s.copied {
		return s.parts(ctx, key, size, s.copied, func(req *http.Request, off, n int64) {
			req.Header.Set("X-Amz-Copy-Source", source)
			req.Header.Set("X-Amz-Copy-Source-Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
		})
	}
	dt, _, err := s.client.answer(ctx, s.request(http.MethodPut, key, nil, nothing, func(req *http.Request) {
		req.Header.Set("X-Amz-Copy-Source", source)
		req.Header.Set("X-Amz-Metadata-Directive", "REPLACE")
		req.Header.Set("X-Amz-Meta-Updated-At", time.Now().UTC().Format(time.RFC3339))
	}))
	if err != nil {
		return err
	}
	return s.late(dt)
}

// late finds the error in an answer that had begun well.
func (s *S3) late(dt []byte) error {
	var answer struct {
		XMLName xml.Name
		Code    string
	}
	if xml.Unmarshal(dt, &answer) == nil && answer.XMLName.Local == "Error" {
		return fmt.Errorf("%s: %s: %s", s.base.Host, answer.Code, reason(string(dt)))
	}
	return nil
}
