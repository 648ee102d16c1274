package filetrees

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/tenonbuild/tenon/engine/contenthash"
)

const magic = "tntree\x00\x01"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxInline is how many paths below its directories a file holds.
const maxInline = 512

// encoded is a directory as it is kept.
type encoded struct {
	listing []byte
	sum     contenthash.Sum
	paths   int // in the listing
}

// encode encodes a directory. keep is called with those below it that have files of their own,
// before what they are in; it says whether to go on.
func encode(n *contenthash.Node, keep func(encoded) error) (encoded, error) {
	out := encoded{paths: len(n.Children)}
	b := binary.AppendUvarint(nil, uint64(len(n.Children)))
	sums := make([]contenthash.Sum, len(n.Children))
	room := maxInline
	for i, c := range n.Children {
		b = appendString(b, c.Name)
		b = appendEntry(b, &c.Entry)
		if c.Entry.Kind != contenthash.Dir {
			sums[i] = c.Entry.Sum()
			continue
		}
		sub, err := encode(c, keep)
		if err != nil {
			return out, err
		}
		sums[i] = sub.sum
		b = append(b, sub.sum[:]...)
		if sub.paths <= room {
			room -= sub.paths
			out.paths += sub.paths
			b = append(append(b, 0), sub.listing...)
			continue
		}
		b = append(b, 1)
		if err := keep(sub); err != nil {
			return out, err
		}
	}
	out.listing = b
	out.sum = contenthash.SumDir(n.Entry.Sum(), func(yield func(string, contenthash.Sum) bool) {
		for i, c := range n.Children {
			if !yield(c.Name, sums[i]) {
				return
			}
		}
	})
	return out, nil
}

func appendEntry(b []byte, e *contenthash.Entry) []byte {
	b = append(b, byte(e.Kind))
	b = binary.AppendUvarint(b, uint64(e.Mode))
	b = binary.AppendUvarint(b, uint64(e.UID))
	b = binary.AppendUvarint(b, uint64(e.GID))
	b = binary.AppendUvarint(b, uint64(len(e.Xattrs)))
	for k, v := range e.Xattrs {
		b = appendString(appendString(b, k), string(v))
	}
	switch e.Kind {
	case contenthash.File:
		b = binary.AppendUvarint(b, uint64(e.Size))
		b = append(b, e.Content[:]...)
	case contenthash.Symlink:
		b = appendString(b, e.Target)
	case contenthash.Char, contenthash.Block:
		b = binary.AppendUvarint(b, uint64(e.Major))
		b = binary.AppendUvarint(b, uint64(e.Minor))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// seal makes a file of a listing.
func seal(listing []byte) []byte {
	b := append([]byte(magic), listing...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}
