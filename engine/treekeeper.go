package engine

import (
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/filetrees"
)

// treeKeeper keeps lists of the files that sources had, beside the builds that read them.
type treeKeeper struct {
	to    *filetrees.Store
	under sync.WaitGroup
	turn  sync.Mutex // held by who writes: many at a time would not be faster
}

// keep keeps a tree, some time before wait returns. One that cannot be kept is missed when
// somebody asks which files have changed.
func (k *treeKeeper) keep(source digest.Digest, root *contenthash.Node) {
	k.under.Go(func() {
		k.turn.Lock()
		defer k.turn.Unlock()
		_ = k.to.Put(source, root)
	})
}

func (k *treeKeeper) wait() { k.under.Wait() }
