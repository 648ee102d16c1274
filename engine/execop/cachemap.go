package execop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// keyType begins the key of every exec op, here as in BuildKit.
const keyType = "buildkit.exec.v0"

// opKey is what the digest of an exec op is made of, as JSON.
type opKey struct {
	Type       string
	Exec       *pb.ExecOp
	OS         string
	Arch       string
	Variant    string   `json:",omitempty"`
	OSVersion  string   `json:",omitempty"`
	OSFeatures []string `json:",omitempty"`
}

// CacheMap implements solver.Op. The digest covers the process, its mounts and the
// platform. Left out is what must not decide about the result: proxies, addresses of
// extra hosts, IDs of cache mounts that do not follow from where they are mounted,
// and what is selected of inputs, which is in the selectors.
//
// An input is also known by its content where it is mounted so that nothing but what
// the key covers can come into an output: see contentKeyed. Where the input is the root file
// system, too, the content is that of its whole tree, as contenthash.Tree has it: to read all
// files of an image would take longer than the step. BuildKit has no such key, so it is local.
func (o *op) CacheMap(context.Context, int) (*solver.CacheMap, bool, error) {
	dt, err := json.Marshal(o.key())
	if err != nil {
		return nil, false, err
	}
	cm := solver.NewCacheMap(digest.FromBytes(dt), len(o.deps))
	for i, d := range o.deps {
		if len(d.paths) == 0 {
			continue
		}
		cm.Deps[i].Selector = digest.FromString(strings.Join(d.paths, "\x00"))
		switch {
		case d.byContent && d.byTree && o.NoCutoff:
		case d.byContent && d.byTree:
			cm.Deps[i].ComputeDigestFunc = contenthash.TreeKey(d.paths...)
		case d.byContent:
			cm.Deps[i].ComputeDigestFunc = o.contentOf(i, oneOrAll(d.paths))
		}
	}
	return cm, true, nil
}

// Aliases implements solver.Aliaser: the digest that BuildKit has for the content of an
// input. Where mounts select several parts of it, that does not say which selects what.
func (o *op) Aliases(int) solver.Aliases {
	contents := make([]solver.ResultBasedCacheFunc, len(o.deps))
	for i, d := range o.deps {
		paths := oneOrAll(d.paths)
		if !d.byContent || d.byTree || len(paths) != 1 {
			continue
		}
		contents[i] = func(ctx context.Context, r solver.Result) (digest.Digest, error) {
			ref, err := store.RefOf(r)
			if err != nil {
				return "", err
			}
			sum, err := contenthash.BuildKit(ctx, ref, paths[0], contenthash.Opt{FollowLinks: paths[0] != "/"})
			if err != nil || sum == "" {
				return "", err
			}
			return digest.FromString(sum.String()), nil
		}
	}
	return solver.Aliases{Contents: contents}
}

func (o *op) key() opKey {
	exec := o.exec.CloneVT()
	exec.Meta.ProxyEnv = nil
	for _, h := range exec.Meta.ExtraHosts {
		h.IP = ""
	}
	for _, m := range exec.Mounts {
		m.Selector = ""
		if m.CacheOpt != nil && !namedByPlace(m) {
			m.CacheOpt.ID = ""
			m.CacheOpt.Sharing = 0
		}
	}
	if len(exec.Mounts) == 1 && isPlainRoot(exec.Mounts[0]) {
		exec.Mounts = nil // as BuildKit's first versions had it
	}
	p := platforms.DefaultSpec()
	if o.platform != nil {
		p = ocispec.Platform{
			OS:           o.platform.OS,
			Architecture: o.platform.Architecture,
			Variant:      o.platform.Variant,
			OSVersion:    o.platform.OSVersion,
			OSFeatures:   o.platform.OSFeatures,
		}
	}
	return opKey{Type: keyType, Exec: exec, OS: p.OS, Arch: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}

// namedByPlace reports whether a cache mount's ID follows from its place, as the
// Dockerfile frontend makes it: DEST, or NAMESPACE/DEST.
func namedByPlace(m *pb.Mount) bool {
	if m.CacheOpt.Sharing != pb.CacheSharingOpt_SHARED {
		return false
	}
	_, place, ok := strings.Cut(m.CacheOpt.ID, "/")
	return m.CacheOpt.ID == m.Dest || ok && place == m.Dest
}

// isPlainRoot reports whether a mount is what each RUN has.
func isPlainRoot(m *pb.Mount) bool {
	return m.Dest == pb.RootMount && m.MountType == pb.MountType_BIND && !m.Readonly && m.Selector == "" &&
		m.CacheOpt == nil && m.SSHOpt == nil && m.SecretOpt == nil && m.ResultID == ""
}

// dep is how the op sees one input.
type dep struct {
	paths     []string // one for each mount of it
	byContent bool
	byTree    bool // by that of its whole tree
}

func depsOf(slots []slot, inputs int) ([]dep, error) {
	deps := make([]dep, inputs)
	for _, s := range slots {
		if s.input == none {
			continue
		}
		sel := path.Join("/", s.mount.Selector)
		yes, err := contentKeyed(s, sel)
		if err != nil {
			return nil, err
		}
		d := &deps[s.input]
		// All mounts of an input must allow it: what one of them does not select, it
		// may bring into an output all the same.
		d.byContent = yes && (d.byContent || len(d.paths) == 0)
		d.byTree = d.byTree || s.isRoot() && s.mount.ContentCache == pb.MountContentCache_DEFAULT
		d.paths = append(d.paths, sel)
	}
	return deps, nil
}

// contentKeyed decides whether an input may be known by the content of what is
// selected of it. It must not where the rest of the input comes into an output: where
// a mount of a part of it is written to, and results in all of it.
func contentKeyed(s slot, sel string) (bool, error) {
	safe := s.output == none || s.mount.Readonly || sel == pb.RootMount
	switch s.mount.ContentCache {
	case pb.MountContentCache_OFF:
		return false, nil
	case pb.MountContentCache_ON:
		if !safe {
			return false, fmt.Errorf("mount %q cannot be keyed by content: it selects %s and results in more than that", s.dest, sel)
		}
		return true, nil
	}
	return safe, nil
}

// oneOrAll are the paths whose content is digested: one for each mount, since the
// digest of the op does not say which mount selects what. Where all select the same,
// once is enough. (BuildKit sorts them and drops what is inside another: mounts that
// change places, or select another part inside, then find each other's results. So there
// is no alias of several.)
func oneOrAll(paths []string) []string {
	if distinct := slices.Compact(slices.Clone(paths)); len(distinct) == 1 {
		return distinct
	}
	return paths
}

// contentOf digests paths of a tree.
func (o *op) contentOf(input int, paths []string) solver.ResultBasedCacheFunc {
	return func(ctx context.Context, r solver.Result) (digest.Digest, error) {
		ref, err := store.RefOf(r)
		if err != nil {
			return "", err
		}
		sums := make([]string, len(paths))
		var errs error
		for i, p := range paths {
			d, err := contenthash.Checksum(ctx, ref, p, contenthash.Opt{FollowLinks: true})
			if err != nil {
				errs = errors.Join(errs, fmt.Errorf("digesting %s: %w", p, err))
			}
			sums[i] = d.String()
		}
		if errs != nil {
			return "", o.keepLooked(ctx, errs, input, ref)
		}
		return digest.FromString(strings.Join(sums, "\x00")), nil
	}
}
