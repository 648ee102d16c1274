package contenthash

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
)

// A tree is kept as
//
//	version  1 byte
//	sent     1 byte: 1 if a client has sent it
//	node     the root
//	crc      4 bytes, big endian: CRC-32 (Castagnoli) of all before
//
// and a node, with the nodes in it after it, as
//
//	kind     1 byte, a Kind
//	flags    1 byte: flagKnown, flagListed
//	name     uvarint length, bytes; empty for the root only
//	target   of a symlink: uvarint length, bytes
//	header   if flagKnown: 32 bytes, and 32 of what BuildKit has for it
//	count    if flagListed: uvarint number of the nodes that follow, by name
//
// What does not decode is computed again.
const (
	treeVersion = 2

	flagKnown  = 1
	flagListed = 2

	// maxDepth is more than a path that Linux takes can have.
	maxDepth = 4096
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errBadTree = errors.New("not the hash tree of this version")

// encode writes what is known of a tree.
func (t *tree) encode() []byte {
	b := make([]byte, 0, nodeCost*t.nodes)
	b = append(b, treeVersion, 0)
	if t.sent {
		b[1] = 1
	}
	b = t.root.encode(b)
	return appendCRC(b)
}

func (n *node) encode(b []byte) []byte {
	var flags byte
	if n.known {
		flags |= flagKnown
	}
	if n.listed {
		flags |= flagListed
	}
	b = append(b, byte(n.kind), flags)
	b = binary.AppendUvarint(b, uint64(len(n.name)))
	b = append(b, n.name...)
	if n.kind == Symlink {
		b = binary.AppendUvarint(b, uint64(len(n.target)))
		b = append(b, n.target...)
	}
	if n.known {
		b = append(append(b, n.header[:]...), n.peer[:]...)
	}
	if n.listed {
		b = binary.AppendUvarint(b, uint64(len(n.children)))
		for _, c := range n.children {
			b = c.encode(b)
		}
	}
	return b
}

// decodeTree reads what encode wrote. Anything else is an error.
func decodeTree(b []byte) (*tree, error) {
	if len(b) < 6 || b[0] != treeVersion || b[1] > 1 {
		return nil, errBadTree
	}
	body, crc := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != crc {
		return nil, errBadTree
	}
	d := &decoder{b: body[2:], t: &tree{sent: b[1] == 1}}
	root, err := d.node(nil, 0)
	if err != nil {
		return nil, err
	}
	if len(d.b) != 0 || root.kind != Dir {
		return nil, errBadTree
	}
	d.t.root = root
	return d.t, nil
}

type decoder struct {
	b []byte // what is left
	t *tree
}

func (d *decoder) node(parent *node, depth int) (*node, error) {
	if len(d.b) < 2 || depth > maxDepth {
		return nil, errBadTree
	}
	n := &node{parent: parent, kind: Kind(d.b[0])}
	flags := d.b[1]
	d.b = d.b[2:]
	n.known, n.listed = flags&flagKnown != 0, flags&flagListed != 0
	d.t.nodes++
	var err error
	if n.name, err = d.string(); err != nil {
		return nil, err
	}
	switch n.kind {
	case Dir:
	case Symlink:
		if n.target, err = d.string(); err != nil {
			return nil, err
		}
	case File, Fifo, Char, Block, Socket:
	default:
		return nil, fmt.Errorf("%w: a node of kind %d", errBadTree, n.kind)
	}
	if flags&^(flagKnown|flagListed) != 0 || (n.listed && n.kind != Dir) || !validName(n.name, parent == nil) {
		return nil, errBadTree
	}
	if n.known {
		if len(d.b) < len(n.header)+len(n.peer) {
			return nil, errBadTree
		}
		d.b = d.b[copy(n.header[:], d.b):]
		d.b = d.b[copy(n.peer[:], d.b):]
	}
	if n.listed {
		return n, d.children(n, depth)
	}
	return n, nil
}

func (d *decoder) children(n *node, depth int) error {
	count, err := d.uvarint()
	// A node takes at least four bytes.
	if err != nil || count > uint64(len(d.b)/4) {
		return errBadTree
	}
	n.children = make([]*node, 0, count)
	for range count {
		c, err := d.node(n, depth+1)
		if err != nil {
			return err
		}
		if i := len(n.children); i > 0 && n.children[i-1].name >= c.name {
			return errBadTree
		}
		n.children = append(n.children, c)
	}
	return nil
}

func validName(name string, root bool) bool {
	if root || name == "" {
		return root == (name == "")
	}
	return name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

func (d *decoder) uvarint() (uint64, error) {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		return 0, errBadTree
	}
	d.b = d.b[n:]
	return v, nil
}

func (d *decoder) string() (string, error) {
	l, err := d.uvarint()
	if err != nil || l > uint64(len(d.b)) {
		return "", errBadTree
	}
	s := string(d.b[:l])
	d.b = d.b[l:]
	return s, nil
}

func appendCRC(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}
