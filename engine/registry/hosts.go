package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/moby/buildkit/util/resolver"
	"github.com/moby/buildkit/util/resolver/config"

	"github.com/tenonbuild/tenon/internal/regular"
)

// maxCertificates bounds a file of certificates or keys, in bytes.
const maxCertificates = 16 << 20

// configured turns a configuration into hosts. The files it names are read here
// once for their errors: BuildKit, which reads them when a host is first used,
// passes over a CA file without a certificate.
func configured(hosts map[string]config.RegistryConfig) (docker.RegistryHosts, error) {
	for host, c := range hosts {
		if err := checkFiles(c); err != nil {
			return nil, fmt.Errorf("registry %s: %w", host, err)
		}
		if slices.Contains(c.Mirrors, "") {
			return nil, fmt.Errorf("registry %s: a mirror without a name", host)
		}
	}
	return resolver.NewRegistryConfig(hosts), nil
}

// checkFiles reads the certificates and keys of a registry.
func checkFiles(c config.RegistryConfig) error {
	for _, file := range c.RootCAs {
		pem, err := regular.Read(file, maxCertificates)
		if err != nil {
			return fmt.Errorf("CA file: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return fmt.Errorf("CA file %s holds no certificate in PEM form", file)
		}
	}
	for _, pair := range c.KeyPairs {
		if err := loadPair(pair); err != nil {
			return fmt.Errorf("key pair %s, %s: %w", pair.Certificate, pair.Key, err)
		}
	}
	for _, dir := range c.TLSConfigDir {
		files, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("the directory of its certificates: %w", err)
		}
		for _, f := range files {
			if !slices.Contains([]string{".crt", ".cert", ".key"}, filepath.Ext(f.Name())) {
				continue
			}
			if _, err := regular.Read(filepath.Join(dir, f.Name()), maxCertificates); err != nil {
				return fmt.Errorf("a certificate or key: %w", err)
			}
		}
	}
	return nil
}

// loadPair reads a certificate and its key.
func loadPair(pair config.TLSKeyPair) error {
	cert, err := regular.Read(pair.Certificate, maxCertificates)
	if err != nil {
		return err
	}
	key, err := regular.Read(pair.Key, maxCertificates)
	if err != nil {
		return err
	}
	_, err = tls.X509KeyPair(cert, key)
	return err
}

// hostsFor returns where a repository of a domain is: on its mirrors, then there itself.
// Of all but the last a request is tried once, since there is another to ask.
func (r *Registry) hostsFor(domain, repository string, a *access) ([]docker.RegistryHost, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hosts, ok := r.byHost[domain]
	if !ok {
		var err error
		if hosts, err = r.hosts(domain); err != nil {
			return nil, fmt.Errorf("registry %s: %w", domain, err)
		}
		for i := range hosts {
			attempts := r.opt.Attempts
			if i < len(hosts)-1 {
				attempts = 1
			}
			hosts[i].Client = r.client(hosts[i].Client, attempts)
			if hosts[i].Capabilities.Has(docker.HostCapabilityResolve) { // one that cannot has a tag that lists them
				hosts[i].Capabilities |= docker.HostCapabilityReferrers
			}
		}
		r.byHost[domain] = hosts
	}
	hosts = slices.Clone(hosts)
	for i := range hosts {
		name := hosts[i].Host
		if i == len(hosts)-1 {
			name = domain // as in "docker.io", which is at another host
		}
		insecure := r.opt.Hosts[name].Insecure
		host := hosts[i]
		of := func(a *access) *authorizer {
			return a.authorizer(host, repository, insecure != nil && *insecure, r.headers())
		}
		au, client := &lent{r: r, of: of, at: of(a)}, *host.Client
		client.CheckRedirect = au.redirected
		hosts[i].Authorizer, hosts[i].Client = au, &client
	}
	return hosts, nil
}

// client is c with the transport of this package.
func (r *Registry) client(c *http.Client, attempts int) *http.Client {
	with := *c
	with.Transport = &retrying{
		base:     bounded{base: CutStalled(c.Transport, r.opt.StallTimeout)},
		attempts: attempts,
		wait:     r.opt.Wait,
	}
	return &with
}
