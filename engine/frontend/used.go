package frontend

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Resolved is an image that a frontend has asked about.
type Resolved struct {
	by *Client
	// Ref is its name, without the scheme.
	Ref      string
	Local    bool // in a layout of the caller
	Platform *ocispec.Platform
	Digest   digest.Digest
}

func (k *kept) addResolved(by *Client, m *sourceresolver.MetaResponse, opt sourceresolver.Opt) error {
	if m.Image == nil {
		return nil
	}
	scheme, ref, _ := strings.Cut(m.Op.GetIdentifier(), "://")
	r := Resolved{by: by, Ref: ref, Local: scheme != "docker-image", Digest: m.Image.Digest}
	switch {
	case opt.ImageOpt != nil && opt.ImageOpt.Platform != nil:
		r.Platform = opt.ImageOpt.Platform
	case opt.OCILayoutOpt != nil:
		r.Platform = opt.OCILayoutOpt.Platform
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.resolved) == maxResolved {
		return fmt.Errorf("one build asks about no more than %d images: make several builds of it", maxResolved)
	}
	k.resolved = append(k.resolved, r)
	return nil
}

// Asked is what the frontend was asked for: its name, which the first client of a build
// does not have, its attributes and inputs. They are only to be read.
func (c *Client) Asked() (name string, attrs map[string]string, inputs map[string]*pb.Definition) {
	return c.name, c.attrs, c.inputs
}

// Parent is the client of the frontend that has run this one; nil if nobody has.
func (c *Client) Parent() *Client { return c.parent }

// Used are the references that the frontend, and those that it has run, have made until
// now, and the images that they have asked about.
func (c *Client) Used() (refs []*Reference, images []Resolved) {
	c.kept.mu.Lock()
	defer c.kept.mu.Unlock()
	refs = slices.DeleteFunc(slices.Clone(c.kept.refs), func(r *Reference) bool {
		return !r.client.below(c)
	})
	images = slices.DeleteFunc(slices.Clone(c.kept.resolved), func(r Resolved) bool { return !r.by.below(c) })
	return refs, images
}

// below says whether c is top, or was run by it or by one below it.
func (c *Client) below(top *Client) bool {
	for ; c != nil; c = c.parent {
		if c == top {
			return true
		}
	}
	return false
}

// Solved says whether there is a result of it.
func (r *Reference) Solved() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.result != nil
}

// Before says whether a reference was made before a frontend was asked for something, also
// that of another build.
func (r *Reference) Before(c *Client) bool { return r.made < c.made }
