package solver

import (
	"context"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Aliases are further names of an operation and its inputs: those by which other caches
// know them. VertexOptions.CacheSources are asked by them, too, and they are exported with
// the records. SolverOpt.DefaultCache keeps them for later exports and never answers to
// them. So what an alias tells may be less than what a result depends on, where one trusts
// those who write the other caches not to have that matter.
type Aliases struct {
	// Digest names an operation without inputs; "" for no alias.
	Digest digest.Digest
	// Contents compute content keys of the inputs, each after the input's ComputeDigestFunc.
	// There is one for each input, nil where there is none; or none at all. An empty digest
	// stands for none.
	Contents []ResultBasedCacheFunc
}

// Aliaser is implemented by an Op that other caches know by other names.
type Aliaser interface {
	// Aliases are those that go with the cache map of an index. It is called once CacheMap
	// has returned that map.
	Aliases(index int) Aliases
}

// aliasPrefix begins what an alias is called in the default cache, where nothing else may
// find it.
const aliasPrefix = "alias:"

// unaliased is what a key is called elsewhere that the default cache calls id.
func unaliased(id string) string { return strings.TrimPrefix(id, aliasPrefix) }

func callAliases(op Op, index int) (a Aliases, err error) {
	defer recovered("Aliases", &err)
	if named, ok := op.(Aliaser); ok {
		a = named.Aliases(index)
	}
	if a.Digest != "" {
		err = checkDigest(a.Digest)
	}
	return a, err
}

// content is the alias of an input's content; nil if there is none.
func (a *Aliases) content(input int) ResultBasedCacheFunc {
	if a == nil || input >= len(a.Contents) {
		return nil
	}
	return a.Contents[input]
}

// empty reports whether there are none.
func (a *Aliases) empty() bool { return a.Digest == "" && a.Contents == nil }

// root is the key of an output of an operation without inputs.
func (a *Aliases) root(dgst digest.Digest, output Index) *CacheKey {
	k := NewCacheKey(dgst, output)
	if a != nil && a.Digest != "" {
		k.alias = NewCacheKey(a.Digest, output)
	}
	return k
}

// aliasesOf are the aliases of one of an op's cache maps; nil if there are none.
func (st *opState) aliasesOf(i int32) *Aliases {
	if st.extra == nil {
		return nil
	}
	return st.extra.aliases[i]
}

// addAliases adds those of the cache map that was added last.
func (st *opState) addAliases(a Aliases) {
	if a.empty() {
		return
	}
	extra := st.needExtra()
	if extra.aliases == nil {
		extra.aliases = map[int32]*Aliases{}
	}
	extra.aliases[st.n-1] = &a
}

// digester computes content keys of an input.
type digester struct {
	fn    ResultBasedCacheFunc
	alias ResultBasedCacheFunc // nil: none
}

// digester computes content keys of one of the op's inputs.
func (st *opState) digester(input int) digester {
	return digester{fn: st.first.Deps[input].ComputeDigestFunc, alias: st.aliasesOf(0).content(input)}
}

// key computes the content key of a result, with its alias.
func (d digester) key(ctx context.Context, on Result) (*CacheKey, error) {
	dgst, err := contentDigest(ctx, d.fn, on)
	if err == nil {
		err = checkDigest(dgst)
	}
	if err != nil {
		return nil, err
	}
	k := NewCacheKey(dgst, contentOutput)
	if d.alias == nil {
		return k, nil
	}
	other, err := contentDigest(ctx, d.alias, on)
	if err == nil && other != "" {
		err = checkDigest(other)
	}
	if err != nil {
		return nil, err
	}
	if other != "" {
		k.alias = NewCacheKey(other, contentOutput)
	}
	return k, nil
}

func contentDigest(ctx context.Context, fn ResultBasedCacheFunc, on Result) (dgst digest.Digest, err error) {
	defer recovered("ComputeDigestFunc", &err)
	return fn(ctx, on)
}

// abroad is what caches other than the default one are told of an input: aliases, too, and
// no key that is local.
func (d keyDep) abroad() keyDep {
	if d.content != nil && isLocal(d.content.ID) {
		d.content = d.content.alias
	}
	d.aliases = true
	for _, k := range d.keys {
		if isLocal(k.ID) || k.alias != nil {
			d.keys = abroad(d.keys)
			break
		}
	}
	return d
}

// abroad are the keys of a list that are not local, and then the aliases of all.
func abroad(list []*CacheKey) []*CacheKey {
	out := make([]*CacheKey, 0, len(list)+1)
	for _, k := range list {
		if !isLocal(k.ID) {
			out = append(out, k)
		}
	}
	for _, k := range list {
		if k.alias != nil {
			out = append(out, k.alias)
		}
	}
	return out
}

// depsFor are dependencies as one of a vertex's caches is asked about them: the first is the
// default one.
func depsFor(cache int, deps []keyDep) []keyDep {
	if cache == 0 || deps == nil {
		return deps
	}
	out := make([]keyDep, len(deps))
	for i := range deps {
		out[i] = deps[i].abroad()
	}
	return out
}

// eachAlias calls fn for what the default cache keeps of an input's aliases.
func (d *keyDep) eachAlias(fn func(id string, selector digest.Digest)) {
	for _, k := range d.keys {
		if k.alias != nil {
			fn(aliasPrefix+k.alias.ID, d.selector)
		}
	}
	if d.content != nil && d.content.alias != nil {
		fn(aliasPrefix+d.content.alias.ID, "")
	}
}
