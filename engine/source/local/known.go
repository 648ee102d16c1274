package local

import (
	"github.com/tenonbuild/tenon/engine/contenthash"
)

// maxKnown is how many files of mirrors are known at most: some hundred bytes each.
const maxKnown = 1 << 20

// knownFiles are the contents of the files of mirrors, as far as this process has seen what
// was sent to them. Nobody else writes to a mirror, and what is sent replaces files.
type knownFiles struct {
	of    map[*mirror]map[string]content // the maps do not change
	count int
}

// set notes all files of a mirror; nil if they are not known. Of others, all is forgotten
// where it is too much.
func (k *knownFiles) set(m *mirror, files map[string]content) {
	k.forget(m)
	if files == nil || len(files) > maxKnown {
		return
	}
	for other := range k.of {
		if k.count+len(files) <= maxKnown {
			break
		}
		k.forget(other)
	}
	if k.of == nil {
		k.of = map[*mirror]map[string]content{}
	}
	k.of[m] = files
	k.count += len(files)
}

func (k *knownFiles) forget(m *mirror) {
	k.count -= len(k.of[m])
	delete(k.of, m)
}

// contents are those of all the files that were listed; nil if a file has several names.
func (l *listing) contents() map[string]content {
	files := make(map[string]content, len(l.found))
	for _, f := range l.found {
		if f.links > 1 {
			return nil
		}
		if e := &f.node.Entry; e.Kind == contenthash.File {
			files[f.path] = content{e.Size, e.Content, headOf(e)}
		}
	}
	return files
}

// know notes the files of a mirror, whose turn the caller has; nil if they are not known.
func (s *Source) know(m *mirror, files map[string]content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known.set(m, files)
}

// filesOf are the files of a mirror; nil if they are not known.
func (s *Source) filesOf(m *mirror) map[string]content {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known.of[m]
}
