// Package provenance says how something was built, as SLSA provenance in BuildKit's words:
// what was asked for, and what the result is made of. It knows no solver: what a build has
// used is noted in a Capture, and a Predicate is made of that.
package provenance

import (
	"cmp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/network"
	"github.com/moby/buildkit/util/urlutil"
	"github.com/opencontainers/go-digest"
)

// Capture is what a result was made of, and by what request. The zero value is nothing.
type Capture struct {
	Request types.Parameters
	Sources types.Sources
	// Network says that a step could reach others.
	Network bool
	// Incomplete says that there is more than could be told.
	Incomplete bool
	// Proxied says that steps could reach others only by a proxy, and Untold what they have
	// asked it for that is not known.
	Proxied bool
	Untold  []types.ProxyCaptureIncomplete
}

// add adds to a list what is not in it.
func add[T any](list *[]T, x T, same func(a, b T) bool) {
	if !slices.ContainsFunc(*list, func(has T) bool { return same(has, x) }) {
		*list = append(*list, x)
	}
}

// AddImage notes an image.
func (c *Capture) AddImage(i types.ImageSource) {
	add(&c.Sources.Images, i, func(a, b types.ImageSource) bool {
		if a.Ref != b.Ref || a.Local != b.Local || a.Platform == nil || b.Platform == nil {
			return a.Ref == b.Ref && a.Local == b.Local && a.Platform == b.Platform
		}
		p, q := a.Platform, b.Platform
		return p.OS == q.OS && p.Architecture == q.Architecture && p.Variant == q.Variant && p.OSVersion == q.OSVersion
	})
}

// AddImageBlob notes a blob of a registry or an OCI layout.
func (c *Capture) AddImageBlob(b types.ImageBlobSource) {
	add(&c.Sources.ImageBlobs, b, func(a, b types.ImageBlobSource) bool { return a == b })
}

// AddLocal notes a directory of the caller.
func (c *Capture) AddLocal(name string) {
	l := types.LocalSource{Name: name}
	add(&c.Sources.Local, l, func(a, b types.LocalSource) bool { return a == b })
}

// AddGit notes a commit.
func (c *Capture) AddGit(g types.GitSource) {
	g.URL = urlutil.RedactCredentials(g.URL)
	add(&c.Sources.Git, g, func(a, b types.GitSource) bool { return a.URL == b.URL })
}

// AddHTTP notes a file of a server.
func (c *Capture) AddHTTP(h types.HTTPSource) {
	h.URL = urlutil.RedactCredentials(h.URL)
	add(&c.Sources.HTTP, h, func(a, b types.HTTPSource) bool { return a.URL == b.URL })
}

// AddSecret notes that a secret was asked for.
func (c *Capture) AddSecret(id string, optional bool) {
	for _, s := range c.Request.Secrets {
		if s.ID == id {
			s.Optional = s.Optional && optional
			return
		}
	}
	c.Request.Secrets = append(c.Request.Secrets, &types.Secret{ID: id, Optional: optional})
}

// AddSSH notes that an SSH agent was asked for.
func (c *Capture) AddSSH(id string, optional bool) {
	id = cmp.Or(id, "default")
	for _, s := range c.Request.SSH {
		if s.ID == id {
			s.Optional = s.Optional && optional
			return
		}
	}
	c.Request.SSH = append(c.Request.SSH, &types.SSH{ID: id, Optional: optional})
}

// AddOp notes what an op uses that is no source.
func (c *Capture) AddOp(op *pb.Op) {
	switch op := op.Op.(type) {
	case *pb.Op_Exec:
		for _, m := range op.Exec.GetMounts() {
			switch m.GetMountType() {
			case pb.MountType_SECRET:
				c.AddSecret(m.GetSecretOpt().GetID(), m.GetSecretOpt().GetOptional())
			case pb.MountType_SSH:
				c.AddSSH(m.GetSSHOpt().GetID(), m.GetSSHOpt().GetOptional())
			}
		}
		for _, s := range op.Exec.GetSecretenv() {
			c.AddSecret(s.GetID(), s.GetOptional())
		}
		if op.Exec.GetNetwork() != pb.NetMode_NONE {
			c.Network = true
		}
	case *pb.Op_Build:
		c.Incomplete = true // what it builds is found out while it runs
	}
}

// AddProxied notes a step that could reach others only by a proxy, and what it has asked that
// for; nil if it has not run.
func (c *Capture) AddProxied(step digest.Digest, args []string, asked *network.ProxyCapture) {
	c.Proxied = true
	for _, m := range asked.Materials() {
		c.AddHTTP(types.HTTPSource{URL: m.URL, Digest: m.Digest})
	}
	for _, i := range asked.Incomplete() {
		c.Incomplete = true
		c.Untold = append(c.Untold, types.ProxyCaptureIncomplete{
			Op: step.String(), Name: strings.Join(args, " "), Method: i.Method, URI: i.URL, Reason: i.Reason,
		})
	}
}

// Merge adds what another result of the same request was made of.
func (c *Capture) Merge(o *Capture) {
	for _, i := range o.Sources.Images {
		c.AddImage(i)
	}
	for _, b := range o.Sources.ImageBlobs {
		c.AddImageBlob(b)
	}
	for _, l := range o.Sources.Local {
		c.AddLocal(l.Name)
	}
	for _, g := range o.Sources.Git {
		c.AddGit(g)
	}
	for _, h := range o.Sources.HTTP {
		c.AddHTTP(h)
	}
	for _, s := range o.Request.Secrets {
		c.AddSecret(s.ID, s.Optional)
	}
	for _, s := range o.Request.SSH {
		c.AddSSH(s.ID, s.Optional)
	}
	c.Network = c.Network || o.Network
	c.Incomplete = c.Incomplete || o.Incomplete
	c.Proxied = c.Proxied || o.Proxied
	for _, u := range o.Untold {
		add(&c.Untold, u, func(a, b types.ProxyCaptureIncomplete) bool { return a == b })
	}
}

// Settle puts what was noted in an order that does not depend on when it was. An image
// that is known by its tag is not named by its digest, too.
func (c *Capture) Settle() {
	tagged := map[string]bool{}
	for _, i := range c.Sources.Images {
		if name, pinned := nameOf(i.Ref); !pinned {
			tagged[name] = true
		}
	}
	c.Sources.Images = slices.DeleteFunc(c.Sources.Images, func(i types.ImageSource) bool {
		name, pinned := nameOf(i.Ref)
		return pinned && tagged[name]
	})
	slices.SortFunc(c.Sources.Images, func(a, b types.ImageSource) int { return cmp.Compare(a.Ref, b.Ref) })
	slices.SortFunc(c.Sources.ImageBlobs, func(a, b types.ImageBlobSource) int { return cmp.Compare(a.Ref, b.Ref) })
	slices.SortFunc(c.Sources.Local, func(a, b types.LocalSource) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(c.Sources.Git, func(a, b types.GitSource) int { return cmp.Compare(a.URL, b.URL) })
	slices.SortFunc(c.Sources.HTTP, func(a, b types.HTTPSource) int { return cmp.Compare(a.URL, b.URL) })
	slices.SortFunc(c.Untold, func(a, b types.ProxyCaptureIncomplete) int {
		return cmp.Or(cmp.Compare(a.Op, b.Op), cmp.Compare(a.URI, b.URI), cmp.Compare(a.Method, b.Method))
	})
	slices.SortFunc(c.Request.Secrets, func(a, b *types.Secret) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(c.Request.SSH, func(a, b *types.SSH) int { return cmp.Compare(a.ID, b.ID) })
}

// nameOf is the name and tag of an image, and whether there is a digest, too.
func nameOf(ref string) (name string, pinned bool) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref, false
	}
	_, pinned = named.(reference.Canonical)
	tag := "latest"
	if t, ok := named.(reference.Tagged); ok {
		tag = t.Tag()
	}
	return named.Name() + ":" + tag, pinned
}
