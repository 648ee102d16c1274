package registry

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"slices"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/moby/buildkit/util/resolver"
	"github.com/moby/buildkit/util/resolver/config"
)

// configured turns a configuration into hosts. The files it names are read here
// once for their errors: BuildKit, which reads them when a host is first used,
// passes over a CA file without a certificate.
func configured(hosts map[string]config.RegistryConfig) (docker.RegistryHosts, error) {
	for host, c := range hosts {
		for _, file := range c.RootCAs {
			pem, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("registry %s: CA file: %w", host, err)
			}
			if !x509.NewCertPool().AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("registry %s: CA file %s holds no certificate in PEM form", host, file)
			}
		}
		for _, pair := range c.KeyPairs {
			if _, err := tls.LoadX509KeyPair(pair.Certificate, pair.Key); err != nil {
				return nil, fmt.Errorf("registry %s: key pair %s, %s: %w", host, pair.Certificate, pair.Key, err)
			}
		}
		if slices.Contains(c.Mirrors, "") {
			return nil, fmt.Errorf("registry %s: a mirror without a name", host)
		}
	}
	return resolver.NewRegistryConfig(hosts), nil
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
		au := a.authorizer(hosts[i], repository, insecure != nil && *insecure, r.headers())
		hosts[i].Authorizer, hosts[i].Client = au, au.client
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
