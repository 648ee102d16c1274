package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	remoteserrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/util/resolver/config"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/tenonbuild/tenon/solver"
	"github.com/tenonbuild/tenon/solver/client"
)

// PushOptions are options of Push. The zero value pushes under a tag.
type PushOptions struct {
	// ByDigest pushes without a tag. The reference must not have one.
	ByDigest bool
	// Insecure accepts any certificate of the registry, and plain http.
	Insecure bool
	// Annotations tell of blobs where they come from, with the keys
	// "containerd.io/distribution.source." and a host: a registry that has a blob in
	// another repository is asked to take it from there. Other keys have no effect.
	Annotations map[digest.Digest]map[string]string
	// Progress is told what is going on. Nil: the progress of the op of the context.
	Progress func(client.VertexStatus)
}

// Push uploads what desc leads to (of an index: all platforms) and names it ref.
// Blobs that the registry has are skipped, then come manifests, from the inside out,
// so that a name never leads to something incomplete. Layers that must not be
// distributed are left out.
//
// Provider is read at most once for each blob that is missing, and again where an
// upload broke off. The error wraps ErrDenied if the registry wants other
// credentials.
func (r *Registry) Push(ctx context.Context, provider content.Provider, desc ocispec.Descriptor, ref string, opt PushOptions) error {
	target, host, err := pushTarget(ref, desc, opt.ByDigest)
	if err != nil {
		return err
	}
	if opt.Insecure {
		if r, err = r.insecure(host); err != nil {
			return err
		}
	}
	if opt.Progress == nil {
		opt.Progress = solver.ProgressFrom(ctx).Status
	}
	what, err := planPush(ctx, provider, desc, opt.Annotations)
	if err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	ctx = quiet(ctx)
	resolver, err := r.Resolver(ctx, target)
	if err != nil {
		return err
	}
	pusher, err := resolver.Pusher(ctx, target)
	if err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	p := &push{r: r, pusher: pusher, provider: provider, progress: opt.Progress}
	err = step(opt.Progress, "pushing layers", func() error { return p.blobs(ctx, what.blobs) })
	if err != nil {
		return explain("push", ref, err)
	}
	err = step(opt.Progress, "pushing manifest for "+target, func() error { return p.manifests(ctx, what.manifests) })
	return explain("push", ref, err)
}

// pushTarget is the name that containerd's pusher wants: by the digest in it, it
// knows which manifest gets the tag.
func pushTarget(ref string, desc ocispec.Descriptor, byDigest bool) (target, host string, err error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", "", fmt.Errorf("push: image name %q: %w", ref, err)
	}
	if err := desc.Digest.Validate(); err != nil {
		return "", "", fmt.Errorf("push %s: digest %q: %w", ref, desc.Digest, err)
	}
	host = reference.Domain(named)
	if byDigest {
		if !reference.IsNameOnly(named) {
			return "", "", fmt.Errorf("push %s by digest: leave out the tag", ref)
		}
		return named.Name(), host, nil
	}
	tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged)
	if !ok {
		return "", "", fmt.Errorf("push %s: name a tag instead of a digest, which follows from what is pushed", ref)
	}
	full, err := reference.WithDigest(tagged, desc.Digest)
	if err != nil {
		return "", "", fmt.Errorf("push %s: %w", ref, err)
	}
	return full.String(), host, nil
}

// insecure is r for one host as PushOptions.Insecure has it.
func (r *Registry) insecure(host string) (*Registry, error) {
	yes := true
	opt := r.opt
	opt.Hosts = maps.Clone(opt.Hosts)
	if opt.Hosts == nil {
		opt.Hosts = map[string]config.RegistryConfig{}
	}
	c := opt.Hosts[host]
	c.Insecure, c.PlainHTTP = &yes, &yes
	opt.Hosts[host] = c
	return New(opt)
}

// plan is what a push is about.
type plan struct {
	blobs     []ocispec.Descriptor
	manifests []ocispec.Descriptor // each after what it contains
}

const (
	maxManifests = 1000
	maxNesting   = 8
)

// planPush reads the manifests below desc.
func planPush(ctx context.Context, provider content.Provider, desc ocispec.Descriptor, annotations map[digest.Digest]map[string]string) (*plan, error) {
	p := &plan{}
	seen := map[digest.Digest]bool{}
	var visit func(d ocispec.Descriptor, depth int) error
	visit = func(d ocispec.Descriptor, depth int) error {
		if seen[d.Digest] || images.IsNonDistributable(d.MediaType) {
			return nil
		}
		seen[d.Digest] = true
		if !images.IsManifestType(d.MediaType) && !images.IsIndexType(d.MediaType) {
			d.Annotations = origins(ctx, provider, d, annotations[d.Digest])
			p.blobs = append(p.blobs, d)
			return nil
		}
		if depth > maxNesting || len(seen) > maxManifests*100 {
			return fmt.Errorf("index %s: nested too deeply, or too large", desc.Digest)
		}
		children, err := images.Children(ctx, provider, d)
		if err != nil {
			return fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
		for _, c := range children {
			if err := visit(c, depth+1); err != nil {
				return err
			}
		}
		p.manifests = append(p.manifests, d)
		return nil
	}
	if err := visit(desc, 0); err != nil {
		return nil, err
	}
	if len(p.manifests) == 0 {
		return nil, fmt.Errorf("%s is no image: its media type is %q", desc.Digest, desc.MediaType)
	}
	return p, nil
}

// origins is where a blob is known to be: by the caller, or by the labels of the
// store it is in.
func origins(ctx context.Context, provider content.Provider, desc ocispec.Descriptor, known map[string]string) map[string]string {
	found := map[string]string{}
	add := func(m map[string]string) {
		for k, v := range m {
			if strings.HasPrefix(k, labels.LabelDistributionSource+".") {
				found[k] = v
			}
		}
	}
	add(desc.Annotations)
	if infos, ok := provider.(content.InfoProvider); ok {
		if info, err := infos.Info(ctx, desc.Digest); err == nil {
			add(info.Labels)
		}
	}
	add(known)
	return found
}

// step reports the beginning and the end of what do does.
func step(sink func(client.VertexStatus), name string, do func() error) error {
	started := time.Now()
	sink(client.VertexStatus{ID: name, Timestamp: started, Started: &started})
	err := do()
	ended := time.Now()
	sink(client.VertexStatus{ID: name, Timestamp: ended, Started: &started, Completed: &ended})
	return err
}

// throttled reports to sink how much of total has been transferred.
func throttled(sink func(client.VertexStatus), id string, total int64) func(at int64) {
	const pause = 200 * time.Millisecond
	started := time.Now()
	var last time.Time
	return func(at int64) {
		now := time.Now()
		done := at >= total
		if !done && now.Sub(last) < pause {
			return
		}
		last = now
		st := client.VertexStatus{ID: id, Current: at, Total: total, Timestamp: now, Started: &started}
		if done {
			st.Completed = &now
		}
		sink(st)
	}
}

// push is one push.
type push struct {
	r        *Registry
	pusher   remotes.Pusher
	provider content.Provider
	progress func(client.VertexStatus)
}

func (p *push) blobs(ctx context.Context, blobs []ocispec.Descriptor) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.r.opt.Connections)
	for _, desc := range blobs {
		g.Go(func() error {
			return p.persist(ctx, desc, throttled(p.progress, "pushing "+desc.Digest.String(), desc.Size))
		})
	}
	return g.Wait()
}

func (p *push) manifests(ctx context.Context, manifests []ocispec.Descriptor) error {
	for _, desc := range manifests {
		if err := p.persist(ctx, desc, func(int64) {}); err != nil {
			return err
		}
	}
	return nil
}

// persist uploads desc, from the beginning if it must.
func (p *push) persist(ctx context.Context, desc ocispec.Descriptor, report func(at int64)) error {
	for n := 1; ; n++ {
		err := p.upload(ctx, desc, report)
		switch {
		case err == nil || errdefs.IsAlreadyExists(err):
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !anew(err):
			return fmt.Errorf("%s: %w", desc.Digest, err)
		case n >= p.r.opt.Attempts:
			return fmt.Errorf("%s: %w", desc.Digest, &exhausted{attempts: n, cause: err})
		}
		delay := backoff(n)
		note(ctx, "pushing %s: %v; starting over in %s\n", desc.Digest, err, delay)
		if err := p.r.opt.Wait(ctx, delay); err != nil {
			return err
		}
	}
}

// anew decides whether an upload that failed with err may succeed from the start.
func anew(err error) bool {
	var last *exhausted
	if errors.As(err, &last) {
		return false
	}
	var status remoteserrors.ErrUnexpectedStatus
	if errors.As(err, &status) {
		switch status.StatusCode {
		case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		case http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable:
			// The registry has lost the upload.
			return strings.Contains(status.RequestURL, "/blobs/uploads/") && status.RequestMethod == http.MethodPut
		}
		return false
	}
	return broken(err)
}

// upload tries once. What is there already is an error that says so.
func (p *push) upload(ctx context.Context, desc ocispec.Descriptor, report func(at int64)) (err error) {
	w, err := p.pusher.Push(ctx, desc)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := w.Close(); cerr != nil && err == nil {
			err = cerr
		}
	}()
	ra, err := p.provider.ReaderAt(ctx, desc)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer ra.Close()
	return content.Copy(ctx, w, io.NewSectionReader(counting{ra, report}, 0, desc.Size), desc.Size, desc.Digest)
}

// counting reports how far a blob has been read.
type counting struct {
	io.ReaderAt
	report func(at int64)
}

func (c counting) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.report(off + int64(n))
	return n, err
}
