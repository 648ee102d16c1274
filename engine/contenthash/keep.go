package contenthash

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/tenonbuild/tenon/engine/store"
)

// valueKey is where a tree is kept with a Ref's record.
const valueKey = "contenthash"

// maxNodes bounds what is kept in memory: at some 220 bytes a node, 110 MB.
const maxNodes = 500_000

// trees are those of the Refs that were asked about last. A record's ID names its
// tree in every store, so that they can be the process's.
var trees = &keeper{byID: map[string]*kept{}, max: maxNodes}

// keeper keeps trees in memory, up to a number of nodes. The one used last stays,
// whatever its size, and so do those in use.
type keeper struct {
	max int

	mu    sync.Mutex // guards all below, and the fields of kept that say so
	byID  map[string]*kept
	order list.List // of *kept, the one used last in front
	nodes int
}

// kept is a tree with those who wait to use it.
type kept struct {
	id    string
	turn  chan struct{} // holds one token: whoever has taken it has the tree alone
	tree  *tree         // nil until first used; with the turn
	place *list.Element // guarded by keeper.mu
	users int           // who has or waits for the turn; guarded by keeper.mu
	nodes int           // of the tree, as counted in keeper.nodes; guarded by keeper.mu
}

func (k *keeper) checksum(ctx context.Context, ref *store.Ref, p string, opt Opt) (digest.Digest, error) {
	return k.with(ctx, ref, func(t *tree, d disk) (digest.Digest, error) { return t.checksum(ctx, d, p, opt) })
}

// with calls fn, which has the tree alone, with what can read it.
func (k *keeper) with(ctx context.Context, ref *store.Ref, fn func(*tree, disk) (digest.Digest, error)) (_ digest.Digest, err error) {
	e := k.acquire(ref.ID())
	defer k.release(e)
	select {
	case <-e.turn:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	defer func() { e.turn <- struct{}{} }()

	if e.tree == nil {
		e.tree = load(ref)
	}
	defer e.tree.save(ref)
	m := &mounted{ref: ref}
	defer func() {
		if cerr := m.close(); err == nil {
			err = cerr
		}
	}()
	return fn(e.tree, m)
}

func (k *keeper) acquire(id string) *kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.byID[id]
	if e == nil {
		e = &kept{id: id, turn: make(chan struct{}, 1)}
		e.turn <- struct{}{}
		e.place = k.order.PushFront(e)
		k.byID[id] = e
	}
	e.users++
	k.order.MoveToFront(e.place)
	return e
}

// release ends a use, and drops the trees used longest ago if there are too many.
func (k *keeper) release(e *kept) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e.users--
	if e.users == 0 && e.tree != nil {
		// Nobody else has the tree now.
		k.nodes += e.tree.nodes - e.nodes
		e.nodes = e.tree.nodes
	}
	for place := k.order.Back(); place != nil && place != k.order.Front() && k.nodes > k.max; {
		old := place.Value.(*kept)
		place = place.Prev()
		if old.users > 0 {
			continue
		}
		k.order.Remove(old.place)
		delete(k.byID, old.id)
		k.nodes -= old.nodes
	}
}

// load returns the tree that is kept with a record, or one that knows nothing: what
// cannot be read is computed again.
func load(ref *store.Ref) *tree {
	t := newTree()
	if dt, err := ref.Value(valueKey); err == nil && dt != nil {
		if known, err := decodeTree(dt); err == nil {
			t = known
		}
	}
	t.times = ref.TimesCount()
	return t
}

// save keeps a tree with the record, if enough was learned: what is written in all is
// no more than what was read. A tree that could not be written is tried again after
// the next use; until then it is in memory.
func (t *tree) save(ref *store.Ref) {
	if t.unsaved == 0 || t.unsaved < nodeCost*int64(t.nodes) {
		return
	}
	if err := ref.SetValue(valueKey, t.encode()); err == nil {
		t.unsaved = 0
	}
}

// mounted is a Ref that is mounted when it is first needed.
type mounted struct {
	ref     *store.Ref
	dir     string
	unmount func() error // nil until it is mounted
}

func (m *mounted) open(ctx context.Context) (string, error) {
	if m.unmount != nil {
		return m.dir, nil
	}
	dir, unmount, err := store.MountLocal(ctx, m.ref, true)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", m.ref.ID(), err)
	}
	m.dir, m.unmount = dir, unmount
	return dir, nil
}

func (m *mounted) close() error {
	if m.unmount == nil {
		return nil
	}
	if err := m.unmount(); err != nil {
		return fmt.Errorf("unmounting %s: %w", m.ref.ID(), err)
	}
	return nil
}
