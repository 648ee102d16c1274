package solver

import (
	"context"
	"slices"
	"sync/atomic"
)

// SharedResult is a result that several hold. It counts its holders: the creator
// is the first, each Clone is one more. The result itself is released once, when
// the last of them has released.
type SharedResult struct {
	main Result
	// refs are the holders. At 0 the result is released, and stays so.
	refs atomic.Int32
	// left: the creator has released.
	left atomic.Bool
	// lost is how what it stands for was found to be gone; nil if it was not. Of a result
	// that was passed on, only the origin has it. Guarded by Solver.mu.
	lost *LostInputError
}

// NewSharedResult makes a result shareable. It takes main over: the caller
// releases the SharedResult in its stead.
func NewSharedResult(main Result) *SharedResult {
	r := &SharedResult{}
	r.init(main)
	return r
}

func (r *SharedResult) init(main Result) {
	if isNil(main) {
		main = noResult{}
	}
	r.main = main
	r.refs.Store(1)
}

// Clone returns a handle of its own of the result, to be released once. Further
// releases of one handle do nothing. After the last holder has released there is
// nothing left to hold: Clone returns nil.
func (r *SharedResult) Clone() Result {
	return r.cloneInto(&sharedHandle{})
}

// cloneInto is Clone into a handle that is there.
func (r *SharedResult) cloneInto(h *sharedHandle) Result {
	if !r.hold() {
		return nil
	}
	h.shared = r
	return h
}

// Release gives up the creator's hold. Further calls do nothing.
func (r *SharedResult) Release(ctx context.Context) error {
	if r == nil || r.main == nil || r.left.Swap(true) {
		return nil
	}
	return r.drop(ctx)
}

// hold adds a holder, unless the last one has gone, or there never was one.
func (r *SharedResult) hold() bool {
	if r == nil {
		return false
	}
	for {
		n := r.refs.Load()
		if n <= 0 {
			return false
		}
		if r.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (r *SharedResult) drop(ctx context.Context) error {
	if r.refs.Add(-1) > 0 {
		return nil
	}
	return r.main.Release(ctx)
}

// sharedHandle is one holder's view of a shared result.
type sharedHandle struct {
	shared   *SharedResult
	released atomic.Bool
}

func (h *sharedHandle) ID() string       { return h.shared.main.ID() }
func (h *sharedHandle) Sys() interface{} { return h.shared.main.Sys() }

func (h *sharedHandle) Release(ctx context.Context) error {
	if h.released.Swap(true) {
		return nil
	}
	return h.shared.drop(ctx)
}

// borrowed is a shared result as it is lent to an op for one call. It is no hold: to
// release it does nothing. An op may return it, which makes a hold of its own.
type borrowed SharedResult

func (b *borrowed) ID() string                    { return b.main.ID() }
func (b *borrowed) Sys() interface{}              { return b.main.Sys() }
func (b *borrowed) Release(context.Context) error { return nil }

// passedOn is a result that an op has made anew of an input: it has the input's ID.
type passedOn struct {
	Result
	input *SharedResult
}

// passOn is an output of an op as a hold of its own, if it is an input, or has the ID of
// one; else nil. An output that cannot tell its ID is none.
func passOn(out Result, inputs *inputIDs) (own Result) {
	if in, ok := out.(*borrowed); ok {
		return (*SharedResult)(in).holder().Clone()
	}
	if len(inputs.of) == 0 || isNil(out) {
		return nil
	}
	var err error
	defer recovered("ID", &err)
	if in := inputs.find(out.ID()); in != nil {
		return &passedOn{out, in.origin()}
	}
	return nil
}

// inputIDs finds the inputs of a call by their IDs.
type inputIDs struct {
	of []*SharedResult
	// byID is made when a second output is looked for: most ops have one.
	byID  map[string]*SharedResult
	asked bool
}

// find returns the first input of an ID; nil if there is none, or if it is "".
func (in *inputIDs) find(id string) *SharedResult {
	if id == "" {
		return nil
	}
	if in.asked && in.byID == nil {
		in.byID = make(map[string]*SharedResult, len(in.of))
		for _, r := range slices.Backward(in.of) {
			in.byID[r.main.ID()] = r
		}
	}
	in.asked = true
	if in.byID != nil {
		return in.byID[id]
	}
	for _, r := range in.of {
		if r.main.ID() == id {
			return r
		}
	}
	return nil
}

// origin is the shared result that was made first, where ops have passed it on.
func (r *SharedResult) origin() *SharedResult {
	for {
		in := passed(r.main)
		if in == nil {
			return r
		}
		r = in
	}
}

// holder is who holds what r stands for, where that is only a hold of another's.
func (r *SharedResult) holder() *SharedResult {
	for {
		h, ok := r.main.(*sharedHandle)
		if !ok {
			return r
		}
		r = h.shared
	}
}

// passed is the shared result that a result passes on; nil if it was made anew.
func passed(res Result) *SharedResult {
	for {
		switch r := res.(type) {
		case *sharedHandle:
			return r.shared
		case *cachedHandle:
			return r.shared
		case *passedOn:
			return r.input
		case *cachedResult:
			res = r.Result
		default:
			return nil
		}
	}
}

// noResult stands for a result that is nil, which then is harmless to hold.
type noResult struct{}

func (noResult) ID() string                    { return "" }
func (noResult) Sys() interface{}              { return nil }
func (noResult) Release(context.Context) error { return nil }

// NewCachedResult combines a result with the keys that lead to it. It takes res
// over.
func NewCachedResult(res Result, k []ExportableCacheKey) CachedResult {
	if isNil(res) {
		res = noResult{}
	}
	return &cachedResult{Result: res, keys: k}
}

type cachedResult struct {
	Result
	keys []ExportableCacheKey
}

func (r *cachedResult) CacheKeys() []ExportableCacheKey { return r.keys }

// SharedCachedResult is a cached result that several hold: see SharedResult.
type SharedCachedResult struct {
	*SharedResult
	CachedResult
}

// NewSharedCachedResult makes a cached result shareable. It takes res over: the
// caller releases the SharedCachedResult in its stead.
func NewSharedCachedResult(res CachedResult) *SharedCachedResult {
	if isNil(res) {
		res = &cachedResult{Result: noResult{}}
	}
	// Both parts are one object: there is one of them for each edge.
	r := &struct {
		SharedCachedResult
		shared SharedResult
	}{}
	r.shared.init(res)
	r.SharedCachedResult = SharedCachedResult{SharedResult: &r.shared, CachedResult: res}
	return &r.SharedCachedResult
}

// Clone returns a handle of its own, to be released once; nil after the last
// holder has released.
func (r *SharedCachedResult) Clone() CachedResult {
	if !r.SharedResult.hold() {
		return nil
	}
	return &cachedHandle{sharedHandle: sharedHandle{shared: r.SharedResult}, cached: r.CachedResult}
}

// Release gives up the creator's hold. Further calls do nothing.
func (r *SharedCachedResult) Release(ctx context.Context) error {
	return r.SharedResult.Release(ctx)
}

// cachedHandle is one holder's view of a shared cached result.
type cachedHandle struct {
	sharedHandle
	cached CachedResult
}

func (h *cachedHandle) CacheKeys() []ExportableCacheKey { return h.cached.CacheKeys() }

// unshared returns what a result stands for, below the handles and keys that
// this package puts around it.
func unshared(res Result) Result {
	for {
		switch r := res.(type) {
		case *sharedHandle:
			res = r.shared.main
		case *borrowed:
			res = r.main
		case *passedOn:
			res = r.Result
		case *cachedHandle:
			res = r.shared.main
		case *cachedResult:
			res = r.Result
		default:
			return res
		}
	}
}
