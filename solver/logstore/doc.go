// Package logstore keeps a solver's cache keys in a file: a solver.CacheKeyStorage
// that answers from memory, and appends all changes to a log.
//
//	store, err := logstore.Open("cache.db", logstore.Options{})
//	cache := solver.NewCacheManager("local", store, results)
//	...
//	err = store.Close()
//
// # What it promises
//
// A write lands in memory, where every look-up sees it at once, and goes to the disk
// with others, at the latest Options.FlushEvery later. Sync waits for that. What was
// written before a Sync that returned nil survives the death of the process at any
// instant, and of the machine as far as the disk keeps what it has acknowledged. What
// was written later is there up to some moment: never the second of two writes without
// the first, and never half of a write.
//
// Look-ups never wait for the disk. They are those of the storage in memory, with its
// speed and size. Open reads the whole file.
//
// A write to the disk that fails, because the disk is full or otherwise, loses nothing:
// look-ups go on seeing it, the next Sync or Close says what happened, and it is tried
// again, by itself and by every Sync. What waits is bounded by Options.MaxPending.
// Beyond it a write is refused with ErrFull.
//
// When more than half of the file is dead weight, what is alive is written to a new
// file, which takes the name of the old one. That needs 8 bytes of memory a key. Writes
// go on meanwhile, a Release waits. If it fails, nothing is lost: Options.Warn is told,
// and it is tried again when the file has grown by a quarter.
//
// One process has the file open. Whoever comes second is told so at once.
//
// # Damage
//
// Open keeps what can be read. What cannot be is left out of a new file that it writes
// at once, and Damage says how much that was. An end that is not complete is cut off:
// it is what a death in the midst of a write leaves. Each number in the log has one
// meaning for ever, so that what comes after a damaged part still means what it meant;
// what names something that was lost is left out. What was written together with the
// damaged part, and may not have been synced before it, is left out, too.
//
// A file that was cut where a frame ends opens without a word, with what there was then:
// nothing tells it from one that was copied, or restored, at that time. What is missing is
// made again by the next builds.
//
// A file of another program, or of a newer format, is not touched: Open fails.
//
// # The file
//
// The file begins with 16 bytes of magic, the format's version in 4, and a checksum of
// both. Frames follow, until the end:
//
//	marker    4 bytes
//	length    4 bytes, of the records
//	sequence  8 bytes, 1 for the first
//	unsynced  4 bytes, how many frames before it were not synced when it was written
//	checksum  4 bytes, CRC-32C of all of the frame but the marker and itself
//	records   see keygraph.Journal
//
// Numbers are little end first. A record with its key, result, operation and link takes
// about 120 bytes: digests and IDs of the solver take 33, and each is written once.
package logstore
