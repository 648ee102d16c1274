package local

import (
	"github.com/tenonbuild/tenon/engine/contenthash"
)

// maxKnown is how many files of trees are known at most: some hundred bytes each.
const maxKnown = 1 << 20

// sentFiles are the files of a tree that was sent, and its key. They do not change.
type sentFiles struct {
	key   contenthash.Sum
	files map[string]content
}

// knownFiles are those of trees, by their IDs, as far as this process has seen what was sent
// of them.
type knownFiles struct {
	of    map[string]*sentFiles
	count int
}

// set notes the files of a tree. Of others, all is forgotten where it is too much.
func (k *knownFiles) set(id string, f *sentFiles) {
	k.forget(id)
	if len(f.files) > maxKnown {
		return
	}
	for other := range k.of {
		if k.count+len(f.files) <= maxKnown {
			break
		}
		k.forget(other)
	}
	if k.of == nil {
		k.of = map[string]*sentFiles{}
	}
	k.of[id] = f
	k.count += len(f.files)
}

func (k *knownFiles) forget(id string) {
	if f := k.of[id]; f != nil {
		k.count -= len(f.files)
		delete(k.of, id)
	}
}

// know notes what a tree is; that of the empty one ("") is nothing.
func (s *Source) know(id string, l *listing) *sentFiles {
	f := &sentFiles{key: l.root.Sum(), files: make(map[string]content, len(l.found))}
	for _, x := range l.found {
		if e := &x.node.Entry; e.Kind == contenthash.File {
			f.files[x.path] = content{x.mtime, e.Content, headOf(e)}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known.set(id, f)
	return f
}

// filesOf are the files of a tree; nil if they are not known.
func (s *Source) filesOf(id string) *sentFiles {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known.of[id]
}

// forget forgets a tree.
func (s *Source) forget(t *sentTree) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known.forget(t.ref.ID())
}
