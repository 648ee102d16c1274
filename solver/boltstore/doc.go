// Package boltstore keeps a solver's cache keys in a file: a
// solver.CacheKeyStorage on go.etcd.io/bbolt.
//
//	store, err := boltstore.Open("cache.db", boltstore.Options{})
//	cache := solver.NewCacheManager("local", store, results)
//	...
//	err = store.Close()
//
// # What it promises
//
// A write lands in memory, where every look-up sees it at once, and goes to the
// disk with others, in one transaction, at the latest Options.FlushEvery later.
// Sync waits for that. What was written before a Sync that returned nil survives
// the death of the process at any instant, and of the machine as far as the
// disk keeps what it has acknowledged. What was written later is there up to
// some moment: never the second of two writes without the first, and never half
// of a write. The file is consistent at all times. Nothing in it points at
// nothing; Check and CheckFile prove it.
//
// Look-ups never wait for a commit. They read memory and the mapped file, which
// Open has brought into the page cache. They do wait for a Release, which looks
// at everything that it removes.
//
// A commit that fails, on a full disk or otherwise, loses nothing: what it held
// stays in memory, look-ups go on seeing it, the next Sync or Close says what
// happened, and the commit is tried again, by itself and by every Sync. What
// waits is bounded by Options.MaxPending. Beyond it a write is dropped as a
// whole, with ErrFull. After damage in the file was met, it is not written any
// more, which every Sync says.
//
// One process has the file open. Whoever comes second is told so at once.
//
// # The file
//
// The file is a bolt file of format version 1. Nodes have numbers, from 1, which
// are not used again. In keys a number is its length in bytes, and the bytes, big
// end first; a hash is the 64 bits of hasher, with a seed of the file's own. In
// values numbers are varints. How strings are packed is said at packRaw: the
// digests and IDs of the solver take 33 bytes. The buckets are
//
//	tenon      magic     "made by Tenon boltstore"
//	           version   4 bytes
//	           seed      8 bytes
//	           applied   the last batch: the opening's number, the batch's
//	nodes      number                              → record; the sequence is the last number
//	ids        hash of the ID, number              → nothing
//	links      source, hash of the link, target    → nothing
//	holders    hash of the result's ID, number     → nothing
//	results    number, hash of the result's ID     → results
//	backlinks  target, source, hash of the link    → links
//
// A record is the node's ID, its results, and the links to it, each with the
// number of its source. Four of each are in the record, others are in results
// and in backlinks. So the usual node is one value and three index keys, some
// 230 bytes with everything, and a node of a million links costs no more to look
// at than another. Hashes may collide: what they lead to is compared.
//
// # Layers and locks
//
// Writes are collected in a layer. To commit, the layer is frozen and a new one
// begins; look-ups ask both, and then the file. Layer says how they hide what is
// below. When the commit has succeeded the frozen layer is dropped, otherwise it
// stays and is tried again.
//
// A Store has two locks. commitMu is held for the time of a commit, or of a
// Check, and guards the writing to the file. mu guards the layers and the
// counters: look-ups hold it for reading, writes for the few maps they touch. It
// is never held over a commit or a callback. One goroutine commits. It starts
// with the first write and ends when nothing is pending.
package boltstore
