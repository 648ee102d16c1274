package solver

import (
	"context"
	"sync/atomic"
)

// SharedResult is a result that several hold. It counts its holders: the creator
// is the first, each Clone is one more. The result itself is released once, when
// the last of them has released.
type SharedResult struct {
	main Result
	// refs are the holders. At 0 the result is released, and stays so.
	refs atomic.Int32
	// left says that the creator has released.
	left atomic.Bool
}

// NewSharedResult makes a result shareable. It takes main over: the caller
// releases the SharedResult in its stead.
func NewSharedResult(main Result) *SharedResult {
	r := &SharedResult{}
	r.init(main)
	return r
}

func (r *SharedResult) init(main Result) {
	if main == nil {
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
	if r.left.Swap(true) {
		return nil
	}
	return r.drop(ctx)
}

// hold adds a holder, unless the last one has gone.
func (r *SharedResult) hold() bool {
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

// noResult stands for a result that is nil, which then is harmless to hold.
type noResult struct{}

func (noResult) ID() string                    { return "" }
func (noResult) Sys() interface{}              { return nil }
func (noResult) Release(context.Context) error { return nil }

// NewCachedResult combines a result with the keys that lead to it. It takes res
// over.
func NewCachedResult(res Result, k []ExportableCacheKey) CachedResult {
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
	if res == nil {
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
		case *cachedHandle:
			res = r.shared.main
		case *cachedResult:
			res = r.Result
		default:
			return res
		}
	}
}
