// Package treediff says how one tree of files became another: which paths came and went,
// and what of the others changed. It compares what package contenthash hashes, so times
// count only where they count there.
//
// It reads no more than it has to. Where two sums are known and equal, nothing below is
// looked at; a directory that only one tree has is one change, and is not gone into.
package treediff

import (
	"context"
	"io"

	"github.com/tenonbuild/tenon/engine/contenthash"
)

// Tree is a path of a tree of files, with what is below it. Its methods may load what they
// tell, and are called from one goroutine.
type Tree interface {
	// Entry is what the path is. Of a file that is an Opener, Content may be zero: it is
	// not known, then.
	Entry(ctx context.Context) (*contenthash.Entry, error)
	// Sum is what contenthash.Node.Sum says of the path. False says that it is not known
	// without reading all that is below.
	Sum() (contenthash.Sum, bool)
	// Children are the names in a directory.
	Children(ctx context.Context) ([]Child, error)
}

// Child is a name in a directory, and what it stands for.
type Child struct {
	Name string
	Tree Tree
}

// Opener is a Tree whose bytes can be read, if it is a file.
type Opener interface {
	Open(ctx context.Context) (io.ReadCloser, error)
}

// Kind is what of a path changed. The values are part of the JSON form.
type Kind string

// All kinds there are, with what Old and New say.
const (
	Added   Kind = "added"   // New: the type, as "file" or "directory"
	Removed Kind = "removed" // Old: the type
	Renamed Kind = "renamed" // the paths; all but the name is the same
	Type    Kind = "type"    // the types; nothing else is said of the path and what is below it
	Content Kind = "content" // the sizes of the file, in bytes
	Mode    Kind = "mode"    // the modes, as "0644"
	Owner   Kind = "owner"   // the owners, as "0:0"
	Target  Kind = "target"  // where a symlink leads
	Device  Kind = "device"  // the numbers of a device, as "1:3"
	Xattr   Kind = "xattr"   // the attribute's name, where it is there; the values differ where both have it
	Time    Kind = "time"    // the times of modification, in RFC 3339; "" where they do not count
)

// Change is one thing that changed of one path. A path may have several.
type Change struct {
	// Path is the path without a slash before it; "." is the top. In JSON, bytes that are
	// no UTF-8 become U+FFFD.
	Path string `json:"path"`
	Kind Kind   `json:"change"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
	// BytesUnknown says that the bytes of the file may have changed, too: their number is
	// the same, and neither tree has them to compare.
	BytesUnknown bool `json:"bytes_unknown,omitempty"`

	// The trees that were compared have these at the path (at Old, if it was renamed); nil
	// where they have nothing.
	OldTree  Tree               `json:"-"`
	NewTree  Tree               `json:"-"`
	OldEntry *contenthash.Entry `json:"-"`
	NewEntry *contenthash.Entry `json:"-"`
}

// Diff is how a tree became another.
type Diff struct {
	// Changes are in the order of a walk.
	Changes []Change `json:"changes"`
	// LeftOut is how many more there are.
	LeftOut int `json:"left_out,omitempty"`
}

// Options choose what Compare says.
type Options struct {
	// Limit is how many changes are told; 0 stands for DefaultLimit.
	Limit int
	// Renames finds what was moved: what was removed and what was added is the same. Of
	// files without bytes and of empty directories only what kept its name is found, or
	// changed it in case only. Not more than a few thousand paths are looked at.
	Renames bool
}

// DefaultLimit is how many changes are told if nothing else is asked for.
const DefaultLimit = 1000

// kinds are words for what a path is.
var kinds = map[contenthash.Kind]string{
	contenthash.File: "file", contenthash.Dir: "directory", contenthash.Symlink: "symlink", contenthash.Fifo: "fifo",
	contenthash.Char: "character device", contenthash.Block: "block device", contenthash.Socket: "socket",
}
