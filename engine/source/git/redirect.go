package git

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"github.com/tenonbuild/tenon/internal/regular"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxRedirects is how many redirects of a repository are followed.
const maxRedirects = 5

// redirectTimeout is how long a server may take to say where a repository is.
const redirectTimeout = 30 * time.Second

// refsPath is what git asks a repository for first. Only where the redirect keeps it can
// git tell where the repository is.
const refsPath = "/info/refs?service=git-upload-pack"

// movedTo asks a server for a repository as git does, and returns where it redirects to;
// nil if it does not. What goes wrong otherwise is left to git, which says it better.
func (s *Source) movedTo(ctx context.Context, at *url.URL, header string) (*url.URL, error) {
	ctx, cancel := context.WithTimeout(ctx, redirectTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(at.String(), "/")+refsPath, nil)
	if err != nil {
		return nil, nil
	}
	req.Header.Set("User-Agent", "git/tenon")
	req.Header.Set("Git-Protocol", "version=2")
	if header != "" {
		req.Header.Set("Authorization", header)
	}
	client := &http.Client{Transport: s.web(), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil
	}
	_ = resp.Body.Close() // which is not read
	if resp.StatusCode < 300 || resp.StatusCode > 399 {
		return nil, nil
	}
	to, err := resp.Location()
	if err != nil || to.Scheme != "http" && to.Scheme != "https" || to.Host == "" {
		return nil, nil
	}
	to.User, to.Fragment = nil, "" // a server has no names and passwords to give
	base, ok := strings.CutSuffix(to.String(), refsPath)
	if !ok {
		return nil, nil
	}
	next, err := url.Parse(base)
	if err != nil || strings.HasPrefix(base, "-") {
		return nil, nil
	}
	return next, nil
}

// newTransport makes what asks servers as git would: it trusts the certificates of
// GIT_SSL_CAINFO and GIT_SSL_CAPATH, if they are set. One that cannot be read is git's to
// complain about.
func newTransport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	files, dir := []string{os.Getenv("GIT_SSL_CAINFO")}, os.Getenv("GIT_SSL_CAPATH")
	if dir != "" {
		more, _ := regular.Glob(dir, "*")
		files = append(files, more...)
	}
	pool := x509.NewCertPool()
	trusted := false
	for _, f := range files {
		if f == "" {
			continue
		}
		if dt, err := os.ReadFile(filepath.Clean(f)); err == nil {
			trusted = pool.AppendCertsFromPEM(dt) || trusted
		}
	}
	if trusted {
		t.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return t
}
