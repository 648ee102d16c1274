package solver

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
)

// contentOutput is the output index of content keys, which belong to no op.
const contentOutput Index = -1

// CacheKey names what an operation's output is. It is immutable, and its ID is
// a function of what it stands for: two keys of one ID mean the same, in
// whichever cache they are found.
type CacheKey struct {
	ID string `json:"id"`

	digest digest.Digest
	output Index
	// deps has an element for each input; none for a root, a content key, and a
	// key that was found in a cache, whose inputs only the cache knows.
	deps []keyDep
	// export is what VertexOptions.ExportCache of the key's vertex says.
	export *bool
	// alias is another name of it, for caches other than the default one; nil if it has none.
	// It belongs to keys of operations without inputs, and of content.
	alias *CacheKey
	// caches are the managers that may know more of the key than deps does. They
	// are asked when the key is exported.
	caches *cacheSet // nil: none
	// along are keys that are exported with it: those of what its op has built, others of
	// the same record, and the key as a cache has returned it. They become more.
	along atomic.Pointer[[]ExportableCacheKey]
}

// with returns a key of the same that knows other alternatives of its inputs.
func (ck *CacheKey) with(id string, deps []keyDep) *CacheKey {
	k := &CacheKey{ID: id, digest: ck.digest, output: ck.output, deps: deps, export: ck.export, alias: ck.alias, caches: ck.caches}
	k.along.Store(ck.along.Load())
	return k
}

// goesWith are the keys that are exported with the key.
func (ck *CacheKey) goesWith() []ExportableCacheKey {
	if along := ck.along.Load(); along != nil {
		return *along
	}
	return nil
}

// exportWith has keys be exported with the key. Solver.mu is held.
func (ck *CacheKey) exportWith(keys []ExportableCacheKey) {
	have := ck.goesWith()
	if len(keys) == 0 || slices.ContainsFunc(have, func(o ExportableCacheKey) bool { return o.CacheKey == keys[0].CacheKey }) {
		return
	}
	all := append(slices.Clip(have), keys...)
	ck.along.Store(&all)
}

// exportTogether has keys of one record be exported with each other. What was saved are
// the keys as the cache has returned them; an exporter that is not of this package would
// export the others in turn.
func exportTogether(keys []*CacheKey, saved []ExportableCacheKey) {
	if len(keys) < 2 {
		return
	}
	all := newExportGroup(keys)
	for i := range min(len(all), len(saved)) {
		if _, ok := saved[i].Exporter.(*storedExporter); ok {
			all[i] = saved[i]
		}
	}
	for _, k := range keys {
		k.exportWith(all)
	}
}

// keyDep is what is known of one input of a key: the alternatives by which a
// match may be found. All of them mean the same input.
type keyDep struct {
	// keys begins with the input's own definition key.
	keys []*CacheKey
	// selector goes with keys.
	selector digest.Digest
	// content is the content key of the part of the input that is used; nil if it
	// was not computed.
	content *CacheKey
	// aliases: the content key's is among the alternatives. See abroad.
	aliases bool
}

// NewCacheKey returns the key of output of an operation that has no inputs and
// whose CacheMap has the digest dgst. With output -1 it is a content key.
func NewCacheKey(dgst digest.Digest, output Index) *CacheKey {
	return &CacheKey{ID: string(rootKeyDigest(dgst, output)), digest: dgst, output: output}
}

// Digest is the digest of the key's operation, or of the content.
func (ck *CacheKey) Digest() digest.Digest { return ck.digest }

// Output is the output's index; -1 for a content key.
func (ck *CacheKey) Output() Index { return ck.output }

// Deps are the alternatives for each input of the key, as far as the key itself
// knows them, with their aliases.
func (ck *CacheKey) Deps() [][]CacheKeyWithSelector {
	if len(ck.deps) == 0 {
		return nil
	}
	out := make([][]CacheKeyWithSelector, len(ck.deps))
	for i, d := range ck.deps {
		out[i] = d.abroad().exportable()
	}
	return out
}

// hasContent reports whether an input of the key is known by its content.
func (ck *CacheKey) hasContent() bool {
	for i := range ck.deps {
		if ck.deps[i].content != nil {
			return true
		}
	}
	return false
}

// exportable lists the alternatives as the seed's interfaces want them.
func (d keyDep) exportable() []CacheKeyWithSelector {
	out := make([]CacheKeyWithSelector, d.alternatives())
	for i := range out {
		k, selector := d.alternative(i)
		out[i] = CacheKeyWithSelector{Selector: selector, CacheKey: newExportableKey(k)}
	}
	return out
}

// alternatives is the number of keys that a dependency is known by.
func (d *keyDep) alternatives() int {
	switch {
	case d.content == nil:
		return len(d.keys)
	case d.aliases && d.content.alias != nil:
		return len(d.keys) + 2
	}
	return len(d.keys) + 1
}

// alternative returns one of them with its selector. A content key has none: it
// stands for what was selected.
func (d *keyDep) alternative(i int) (*CacheKey, digest.Digest) {
	switch i - len(d.keys) {
	case 0:
		return d.content, ""
	case 1:
		return d.content.alias, ""
	}
	return d.keys[i], d.selector
}

// randomPrefix marks digests that stand for something that is never the same
// again. Derived digests keep the mark, as in BuildKit's cache format.
const randomPrefix = "random:"

// LocalPrefix begins digests that only the default cache is to know an input by: content keys
// that ComputeDigestFunc returns, and CacheMap.Digest of operations without inputs. Other caches
// are not asked by such a key, and it is not exported. It is for digests that no other builder
// has, and that would only make a cache larger; and for a source that changes often, in which
// other caches are to find what is taken of it by its content: what a build finds so, later
// builds find so in the default cache. A root's key keeps the mark.
const LocalPrefix = "local:"

func isLocal(id string) bool { return strings.HasPrefix(id, LocalPrefix) }

// rootKeyDigest names one output of an operation. It is also what a record is
// called in an exported cache, so it follows BuildKit's format: the SHA-256 of
// "DIGEST@OUTPUT".
func rootKeyDigest(dgst digest.Digest, output Index) digest.Digest {
	var room [128]byte
	buf := append(room[:0], dgst...)
	buf = append(buf, '@')
	buf = strconv.AppendInt(buf, int64(output), 10)
	sum := sha256.Sum256(buf)
	prefix := sha256Prefix
	switch {
	case strings.HasPrefix(string(dgst), randomPrefix):
		prefix = randomPrefix
	case isLocal(string(dgst)):
		prefix = LocalPrefix
	}
	var out [len(sha256Prefix) + 2*sha256.Size]byte
	n := copy(out[:], prefix)
	n += hex.Encode(out[n:], sum[:])
	return digest.Digest(out[:n])
}

const sha256Prefix = "sha256:"

// narrow is how many inputs an operation can have to be hashed in one call.
const narrow = 4

// definitionID names an operation with the first key of each of its inputs,
// without its output. first(i) gives the ID and selector of input i.
func definitionID(dgst digest.Digest, n int, first func(int) (string, digest.Digest)) string {
	// Every part is preceded by its length, so that no two definitions give the
	// same bytes. Wide operations are hashed as they come.
	var sum [sha256.Size]byte
	if n <= narrow {
		var room [512]byte
		buf := appendPart(room[:0], string(dgst))
		for i := range n {
			id, sel := first(i)
			buf = appendPart(appendPart(buf, id), string(sel))
		}
		sum = sha256.Sum256(buf)
	} else {
		h := sha256.New()
		buf := appendPart(make([]byte, 0, 4096), string(dgst))
		for i := range n {
			id, sel := first(i)
			buf = appendPart(appendPart(buf, id), string(sel))
			if len(buf) > cap(buf)/2 {
				h.Write(buf)
				buf = buf[:0]
			}
		}
		h.Write(buf)
		h.Sum(sum[:0])
	}
	var out [43]byte
	base64.RawURLEncoding.Encode(out[:], sum[:])
	return string(out[:])
}

// outputID names one output of a definition.
func outputID(definition string, output Index) string {
	if output == 0 {
		return definition
	}
	return definition + "@" + strconv.Itoa(int(output))
}

func appendPart(buf []byte, s string) []byte {
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(s)))
	return append(buf, s...)
}
