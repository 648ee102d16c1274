// Package contenthash gives the digest of what a path in a tree of files is: of
// names, types, modes, owners, link targets, device numbers, some extended
// attributes and bytes. Times, inode numbers and sizes on disk are no part of it,
// so that trees that were made differently and came out the same are known to be
// the same. Only where a Ref says so (store.NewOptions.TimesCount) are the times of
// all but directories part of it.
//
// # What counts
//
//   - A file: type, mode (with setuid, setgid and sticky), uid, gid, kept extended
//     attributes (see KeepXattr), bytes. Its own name belongs to the directory that
//     holds it: what copies a file and keeps its name must put the name in its key.
//   - A symlink: owner and target. The mode of a link means nothing.
//   - A device: its numbers besides. A fifo and a socket: as a file without bytes.
//   - A directory: its own header as above, and each name in it with what is there.
//     So an empty directory counts, and so does the mode of the directory itself,
//     with or without a slash after its name, since a copy may take it over.
//   - Hard links are as many files of equal bytes: a copy of each has the same digest.
//
// Everything hashed is of fixed length or preceded by its length, so names of any
// bytes are told apart.
//
// # Whole trees
//
// What a step is run in is a whole tree, of which nobody knows what the step looks at, and
// which may have an image below. Tree names it without reading all of it: by the name of the
// tree that it was written on and by what is different, with whiteouts taken for what is
// gone. It says more than Checksum: all extended attributes that a step sees, and which files
// are one. A file that is as it was is no difference, so that the name does not depend on what
// an overlay happens to have copied. Of layers it is the chain ID, which costs nothing: if a
// layer is not what its diff ID says, no step runs on it, and so nothing is saved by the name.
// What a file op makes has a name that follows from its actions and the content that they use.
//
// Two trees of one name are equal, but for times where they do not count, and have as many
// layers: one takes the place of the other in an image, whose history counts layers. Two equal
// trees may have two names, if other steps made them.
//
// The solver asks for the name of an input before its op is run, if the default cache may
// have the op, and else afterwards, so that the next build can find it. What a process is run
// in is named meanwhile (execop). A name stays with the record.
//
// # BuildKit's digests
//
// BuildKit has digests of its own for the same paths, by which its caches are found: see
// BuildKit. They say less, so nothing here is decided by them. A file's is computed in
// one go with ours, which is made of it; both are kept.
//
// # Cost
//
// A Ref's tree is read as far as a path needs, each directory and each file once,
// and what was found is kept: in memory for the trees used last, and with the Ref's
// record. Files are hashed in parallel. Calls for one Ref take turns; one that is
// cancelled leaves what it has hashed to the next.
package contenthash
