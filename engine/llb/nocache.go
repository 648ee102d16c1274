package llb

import (
	"maps"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/solver"
)

// CacheMount names cache mounts of an op.
type CacheMount struct {
	ID string
	// OnBase says that they begin as an input of the op: there is one for each.
	OnBase bool
}

// inherited, in an op's description, says that it ignores the cache only because of
// what it is made of.
const inherited = "tenon.ignorecache.inherited"

// MarkInherited has an op ignore the cache because an op that it is made of does. Its
// cache mounts stay.
func MarkInherited(m *llb.OpMetadata) {
	m.IgnoreCache = true
	m.Description = maps.Clone(m.Description)
	if m.Description == nil {
		m.Description = map[string]string{}
	}
	m.Description[inherited] = "true"
}

// Inherits says whether a vertex ignores the cache only because of what it is made of.
func Inherits(v solver.Vertex) bool {
	return v.Options().IgnoreCache && v.Options().Description[inherited] != ""
}

// dropCaches names the cache mounts that are not to be used again.
func (l *loader) dropCaches() error {
	if l.opt.DropCaches == nil {
		return nil
	}
	seen := map[CacheMount]bool{}
	var all []CacheMount
	for _, v := range l.vertices {
		if !v.opts.IgnoreCache || Inherits(v) {
			continue
		}
		for _, m := range v.op.GetExec().GetMounts() {
			if m.GetMountType() != pb.MountType_CACHE || m.GetCacheOpt().GetID() == "" {
				continue
			}
			c := CacheMount{ID: m.CacheOpt.ID, OnBase: m.Input != int64(pb.Empty)}
			if !seen[c] {
				seen[c] = true
				all = append(all, c)
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return l.opt.DropCaches(all)
}
