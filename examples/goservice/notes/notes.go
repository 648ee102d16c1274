// Package notes keeps notes in memory.
package notes

import (
	"errors"
	"sync"

	"example.org/slug"
)

// ErrEmpty is returned for a note without a letter or a digit.
var ErrEmpty = errors.New("a note needs a word")

// Notes are texts by name. They may be used concurrently.
type Notes struct {
	mu    sync.RWMutex // guards texts
	texts map[string]string
}

// Add keeps a note and returns its name.
func (n *Notes) Add(text string) (string, error) {
	name := slug.Make(text)
	if name == "" {
		return "", ErrEmpty
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.texts == nil {
		n.texts = map[string]string{}
	}
	n.texts[name] = text
	return name, nil
}

// Get returns the note of a name.
func (n *Notes) Get(name string) (string, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	text, ok := n.texts[name]
	return text, ok
}
