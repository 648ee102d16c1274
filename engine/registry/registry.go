// Package registry reaches image registries for everything that pulls and pushes:
// it knows how each host is spoken to, with whose credentials, and what to do when
// a registry is slow, busy or breaks off.
//
// The protocol is containerd's resolver. This package puts below it a transport
// that cuts requests on which nothing moves and repeats those that may be
// repeated, and above it readers that go on where a connection broke.
//
// Credentials are a session's. They are asked for when a registry demands them, of
// a session that is alive then, and that answers: what was begun for one build can be
// finished for another.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/log"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/util/resolver/config"
	"github.com/moby/buildkit/util/resolver/limited"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/session/perbuild"
)

// Options say how registries are reached. The zero value reaches public ones.
type Options struct {
	// Hosts configures registries by host, with the port if there is one, as in
	// BuildKit's configuration. A host that is not here is reached by https, on a
	// loopback address by http.
	Hosts map[string]config.RegistryConfig
	// Sessions lend credentials. Nil: all access is anonymous.
	Sessions *session.Sessions
	// UserAgent is sent with each request. "": "tenon".
	UserAgent string
	// StallTimeout is how long a registry may send nothing, or take nothing, until
	// the request is cut and repeated. 0: 30 seconds.
	StallTimeout time.Duration
	// Attempts bounds how often a request is made, and how often in a row a
	// transfer is resumed without progress. 0: 5.
	Attempts int
	// Connections bounds concurrent transfers for each registry. 0: 4.
	Connections int
	// Wait returns after d, or with the error of ctx if that ends. Nil waits in
	// real time; a test may not want to.
	Wait func(ctx context.Context, d time.Duration) error
}

// Registry reaches registries. It is made by New and safe for concurrent use.
type Registry struct {
	opt   Options
	hosts docker.RegistryHosts
	group *limited.Group

	resolved perbuild.Memo[ocispec.Descriptor] // by full name

	mu     sync.Mutex                       // guards what follows
	byHost map[string][]docker.RegistryHost // what hosts said, so that connections are reused
	access map[string]*access               // by session; "" is anonymous
}

// New checks the configuration, reading the CA files it names.
func New(opt Options) (*Registry, error) {
	if opt.UserAgent == "" {
		opt.UserAgent = "tenon"
	}
	if opt.StallTimeout <= 0 {
		opt.StallTimeout = 30 * time.Second
	}
	if opt.Attempts <= 0 {
		opt.Attempts = 5
	}
	if opt.Connections <= 0 {
		opt.Connections = 4
	}
	if opt.Wait == nil {
		opt.Wait = wait
	}
	if opt.Sessions == nil {
		opt.Sessions = &session.Sessions{}
	}
	hosts, err := configured(opt.Hosts)
	if err != nil {
		return nil, err
	}
	return &Registry{
		opt:    opt,
		hosts:  hosts,
		group:  limited.New(int64(opt.Connections)),
		byHost: map[string][]docker.RegistryHost{},
		access: map[string]*access{},
	}, nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Resolve returns the full name of ref ("alpine" is docker.io/library/alpine:latest)
// and what it stands for. In one build a reference is resolved once: a tag that moves
// meanwhile has no effect. Outside of builds it is resolved each time.
//
// The error wraps errdefs.ErrNotFound if the registry has no such image, and
// ErrDenied if it wants other credentials.
func (r *Registry) Resolve(ctx context.Context, ref string) (name string, desc ocispec.Descriptor, err error) {
	name, _, err = normalize(ref)
	if err != nil {
		return "", ocispec.Descriptor{}, err
	}
	if err := r.mayPull(ctx, name); err != nil {
		return "", ocispec.Descriptor{}, err
	}
	a, err := r.accessOf(ctx)
	if err != nil {
		return "", ocispec.Descriptor{}, err
	}
	desc, err = r.resolved.Do(ctx, name, func() (ocispec.Descriptor, error) {
		_, desc, err := r.resolver(a, name).Resolve(quiet(ctx), name)
		return desc, explain("resolve", name, err)
	})
	return name, desc, err
}

// ErrNoPull is wrapped by errors of builds whose session asks no registry for images.
var ErrNoPull = errors.New("registries are not asked (--pull=never)")

func (r *Registry) mayPull(ctx context.Context, name string) error {
	s, err := r.opt.Sessions.Of(ctx)
	if err != nil {
		return nil // accessOf says what is wrong, if it is
	}
	if p, ok := s.(session.Puller); ok && !p.MayPull() {
		return fmt.Errorf("the store does not have all of %s, and %w: build with --pull=missing", name, ErrNoPull)
	}
	return nil
}

// Resolver returns containerd's resolver for the repository of ref, with the credentials
// of a session of ctx. It is for one job: use it and forget it, since it remembers what
// it has pushed.
func (r *Registry) Resolver(ctx context.Context, ref string) (remotes.Resolver, error) {
	a, err := r.accessOf(ctx)
	if err != nil {
		return nil, err
	}
	return r.resolver(a, ref), nil
}

func (r *Registry) resolver(a *access, ref string) remotes.Resolver {
	repository := ""
	if named, err := reference.ParseNormalizedNamed(ref); err == nil {
		repository = reference.Path(named)
	}
	return docker.NewResolver(docker.ResolverOptions{
		Hosts:   func(domain string) ([]docker.RegistryHost, error) { return r.hostsFor(domain, repository, a) },
		Headers: r.headers(),
	})
}

func (r *Registry) headers() http.Header {
	return http.Header{"User-Agent": []string{r.opt.UserAgent}}
}

// silent swallows what containerd logs: what matters comes as an error, or as
// progress, and the standard error output is the program's.
var silent = func() *log.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}()

func quiet(ctx context.Context) context.Context { return log.WithLogger(ctx, silent) }

// accessOf finds what the session of ctx has been using so far.
func (r *Registry) accessOf(ctx context.Context) (*access, error) {
	s, err := r.opt.Sessions.Of(ctx)
	if errors.Is(err, session.ErrNotFound) {
		return r.accessBy(""), nil
	}
	if err != nil {
		return nil, err
	}
	return r.accessBy(s.ID()), nil
}

// accessBy is the access of a session; "" is anonymous. Of sessions that are gone nothing is
// kept.
func (r *Registry) accessBy(id string) *access {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.access[id]; ok {
		return a
	}
	for old := range r.access {
		if _, err := r.opt.Sessions.Get(old); old != "" && err != nil {
			delete(r.access, old)
		}
	}
	a := newAccess(id)
	r.access[id] = a
	return a
}

// normalize returns the full form of a reference, with a tag or a digest, and the
// host it is on.
func normalize(ref string) (name, host string, err error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", "", fmt.Errorf("image reference %q: %w", ref, err)
	}
	return reference.TagNameOnly(named).String(), reference.Domain(named), nil
}
