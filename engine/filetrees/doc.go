// Package filetrees keeps what trees of files are made of, without the bytes of files: names,
// kinds, modes, owners, targets, sizes and sums. So it can be told later how one tree became
// another.
//
// A tree is kept by a name that its keeper gives it. Its directories are kept by what they
// are: a directory that several trees have is there once, and a tree of which little has
// changed costs little. A directory below which there is not much is kept with the one above.
//
// # On disk
//
// Files are named by hexadecimal digits, in "roots" by the tree's name, in "dirs" by
// contenthash's sum of the directory. Each holds a directory:
//
//	magic    8 bytes, with the version
//	listing
//	crc      4 bytes, big endian: CRC-32 (Castagnoli) of all before
//
//	listing  count    uvarint
//	         count times
//	           name   uvarint length, bytes
//	           kind   1 byte, contenthash's
//	           mode, uid, gid   uvarints
//	           xattrs uvarint count, then name and value, each after its length
//	           of a file: size uvarint, content 32 bytes
//	           of a link: target uvarint length, bytes
//	           of a device: major, minor uvarints
//	           of a directory: sum 32 bytes; 1 byte: 0 and a listing, or 1 for a file in "dirs"
//
// Nothing is synced: a file that is damaged is as if it were not kept.
package filetrees
