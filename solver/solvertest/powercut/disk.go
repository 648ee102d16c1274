package powercut

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// Disk is what files are at a time, and what of them is synced.
type Disk struct {
	log  *Log
	root *node
	said []string
	last string
}

// node is a file or a folder.
type node struct {
	dir bool
	// bytes are those of a file that are synced, changes what was done to it since.
	bytes   []byte
	changes []change
	// stable are the names of a folder that are synced, moves what was done to them since.
	stable map[string]*node
	moves  []names
	// done counts the changes and moves that are synced.
	done int
}

// change is a write to a file, or a new size of it.
type change struct {
	truncate bool
	at       int64
	data     []byte
}

// names are what names lead to from now on; nil is nothing.
type names map[string]*node

func newDisk(l *Log) *Disk {
	same := map[*node]*node{}
	var copied func(n *node) *node
	copied = func(n *node) *node {
		if c := same[n]; c != nil {
			return c
		}
		c := &node{dir: n.dir, bytes: n.bytes, stable: map[string]*node{}}
		same[n] = c
		for name, child := range n.stable {
			c.stable[name] = copied(child)
		}
		return c
	}
	return &Disk{log: l, root: copied(l.start)}
}

// Said returns the lines that the program has printed so far.
func (d *Disk) Said() []string { return d.said }

// String says, for people, when this is.
func (d *Disk) String() string { return d.last }

// find returns what a path leads to; nil if that is nothing.
func (d *Disk) find(path string) *node {
	n := d.root
	rest := strings.TrimPrefix(strings.TrimPrefix(path, d.log.root), "/")
	for rest != "" && n != nil {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		n = n.now()[name]
	}
	return n
}

// now are the names of a folder as programs see them.
func (n *node) now() map[string]*node {
	all := n.stable
	if len(n.moves) > 0 {
		all = maps.Clone(all)
	}
	for _, m := range n.moves {
		m.apply(all)
	}
	return all
}

func (m names) apply(to map[string]*node) {
	for name, n := range m {
		if n == nil {
			delete(to, name)
		} else {
			to[name] = n
		}
	}
}

// move changes what paths lead to. What is in one folder is one change.
func (d *Disk) move(paths names) error {
	byDir := map[*node]names{}
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		dir := d.find(filepath.Dir(path))
		if dir == nil || !dir.dir {
			return fmt.Errorf("%s is not known", filepath.Dir(path))
		}
		if byDir[dir] == nil {
			byDir[dir] = names{}
		}
		byDir[dir][filepath.Base(path)] = paths[path]
	}
	for dir, m := range byDir {
		dir.moves = append(dir.moves, m)
	}
	return nil
}

func (n *node) change(c change) { n.changes = append(n.changes, c) }

// size is that of a file as programs see it.
func (n *node) size() int64 {
	size := int64(len(n.bytes))
	for _, c := range n.changes {
		size = c.size(size)
	}
	return size
}

// size is that of a file after the change, which was so large before.
func (c change) size(before int64) int64 {
	if c.truncate {
		return c.at
	}
	return max(before, c.at+int64(len(c.data)))
}

// sync makes changes last, up to one of all that there ever were.
func (n *node) sync(upTo int) {
	k := upTo - n.done
	if k <= 0 {
		return // another sync was faster
	}
	n.done = upTo
	if !n.dir {
		n.bytes = n.after(n.changes[:k], Everything, "")
		n.changes = n.changes[k:]
		return
	}
	for _, m := range n.moves[:k] {
		m.apply(n.stable)
	}
	n.moves = n.moves[k:]
}
