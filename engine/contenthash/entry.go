package contenthash

import (
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Sum is a SHA-256 of something that this package describes.
type Sum [sha256.Size]byte

// Digest returns the sum in the form that keys use.
func (s Sum) Digest() digest.Digest {
	return digest.NewDigestFromBytes(digest.SHA256, s[:])
}

// Kind is the type of what a name stands for. The values are part of what is
// hashed, and of what is kept on disk.
type Kind byte

// The kinds there are. The zero Kind is none of them.
const (
	File    Kind = 'f'
	Dir     Kind = 'd'
	Symlink Kind = 'l'
	Fifo    Kind = 'p'
	Char    Kind = 'c'
	Block   Kind = 'b'
	Socket  Kind = 's'
)

// KindOf returns the kind of a mode; 0 for a type that this package does not know.
func KindOf(m fs.FileMode) Kind {
	switch m.Type() {
	case 0:
		return File
	case fs.ModeDir:
		return Dir
	case fs.ModeSymlink:
		return Symlink
	case fs.ModeNamedPipe:
		return Fifo
	case fs.ModeDevice | fs.ModeCharDevice:
		return Char
	case fs.ModeDevice:
		return Block
	case fs.ModeSocket:
		return Socket
	}
	return 0
}

// Entry is what counts of one path, apart from its name and what is below it.
type Entry struct {
	Kind Kind
	// Mode are the permission bits with setuid, setgid and sticky, as chmod(2) takes
	// them. Of a symlink it does not count.
	Mode         uint32
	UID, GID     uint32
	Major, Minor uint32            // of devices
	Target       string            // of symlinks
	Xattrs       map[string][]byte // those that KeepXattr keeps; others are left out of the sum
	Size         int64             // of files: the number of their bytes
	Content      Sum               // of files: what SumContent returns
	ModTime      time.Time         // zero where times do not count, and of directories
}

// KeepXattr says whether an extended attribute is part of what a file is. File
// capabilities and what users set are. Labels of security modules, access lists and
// what file systems and overlays note for themselves belong to a machine.
func KeepXattr(name string) bool {
	if name == "security.capability" {
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.") && !strings.HasPrefix(name, "user.fuseoverlayfs.")
}

// UnixMode returns the bits of a mode that count, as chmod(2) takes them.
func UnixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// Each thing that is hashed begins with one of these, so that no two of different
// sorts have one sum. A change of the format changes them.
const (
	sumEntry = "tenon entry 2\x00"
	sumDir   = "tenon directory 1\x00"
	sumList  = "tenon list 1\x00"
	// sumTime comes behind the attributes, the name of none of which is as long as its
	// first eight bytes say.
	sumTime = "tenon time 1\x00"
)

// Sum returns the entry's sum: all there is to know about what is no directory, and
// the header of a directory.
func (e *Entry) Sum() Sum {
	b := make([]byte, 0, 256)
	b = append(b, sumEntry...)
	b = append(b, byte(e.Kind))
	mode := e.Mode
	if e.Kind == Symlink {
		mode = 0o777
	}
	b = binary.BigEndian.AppendUint32(b, mode)
	b = binary.BigEndian.AppendUint32(b, e.UID)
	b = binary.BigEndian.AppendUint32(b, e.GID)
	switch e.Kind {
	case Char, Block:
		b = binary.BigEndian.AppendUint32(b, e.Major)
		b = binary.BigEndian.AppendUint32(b, e.Minor)
	case Symlink:
		b = appendString(b, e.Target)
	case File:
		b = binary.BigEndian.AppendUint64(b, uint64(e.Size))
		b = append(b, e.Content[:]...)
	}
	for _, k := range sortedXattrs(e.Xattrs) {
		b = appendString(b, k)
		b = appendString(b, string(e.Xattrs[k]))
	}
	if !e.ModTime.IsZero() {
		b = append(b, sumTime...)
		b = binary.BigEndian.AppendUint64(b, uint64(e.ModTime.Unix()))
		b = binary.BigEndian.AppendUint32(b, uint32(e.ModTime.Nanosecond()))
	}
	return sha256.Sum256(b)
}

func sortedXattrs(xattrs map[string][]byte) []string {
	if len(xattrs) == 0 {
		return nil
	}
	names := make([]string, 0, len(xattrs))
	for k := range xattrs {
		if KeepXattr(k) {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	return names
}

// SumDir returns the sum of a directory: header is its Entry's, children are the
// names in it, in the order of their bytes, each with the sum of what it stands for.
func SumDir(header Sum, children iter.Seq2[string, Sum]) Sum {
	return sumNamed(sumDir, header, children)
}

func sumNamed(sort string, header Sum, named iter.Seq2[string, Sum]) (sum Sum) {
	h := sha256.New()
	b := make([]byte, 0, 512)
	b = append(append(b, sort...), header[:]...)
	for name, s := range named {
		if len(b) > 0 {
			h.Write(b)
			b = b[:0]
		}
		b = appendString(b, name)
		b = append(b, s[:]...)
	}
	h.Write(b)
	h.Sum(sum[:0])
	return sum
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
	return append(b, s...)
}
