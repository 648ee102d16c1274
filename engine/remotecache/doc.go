// Package remotecache has caches that travel: what one builder has in its cache is written
// to a registry, a folder, an image or a store of objects, and another reads it there. The
// format is BuildKit's (application/vnd.buildkit.cacheconfig.v0), in both directions.
//
// A cache is a [Graph] of records. A record stands for one output of an operation, says
// which records its inputs can be, and may have results: stacks of layers. Decode reads
// one from anybody, and checks it; what is wrong with it is an error, never a wrong
// answer. Its memory is bounded by what was read.
//
// # Reading
//
// An [Import] is a solver.CacheManager. It reads its [Source] in the background: what holds
// the records, and no layer. A result that is found is a tree whose layers are fetched when
// something reads it. A cache that cannot be read answers that it has nothing.
//
// The solver knows a key by an ID of its own, which a record does not have. So a key is
// found by what it was made of: by the digest of its operation, and the records that the
// keys of its inputs stand for. What a record is called here follows from what it means, so
// that it is the same in the next build.
//
// # Writing
//
// A [Collector] is a solver.CacheExporterTarget. Gather makes a graph of what was collected;
// [Write] brings the layers that a [Destination] does not have there, several at a time, and
// then commits what names them. [Ahead] brings layers before there is a graph. Equal caches are equal bytes: one that is there already
// is not written again.
package remotecache
