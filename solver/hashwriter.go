package solver

import (
	"crypto/sha256"
	"hash"
)

// hashWriter hashes parts: in one call where all came at once, which needs no
// state on the heap, and as a stream otherwise.
type hashWriter struct{ h hash.Hash }

func (w *hashWriter) write(p []byte) {
	if w.h == nil {
		w.h = sha256.New()
	}
	w.h.Write(p)
}

// sum ends the hash with last.
func (w *hashWriter) sum(last []byte) [sha256.Size]byte {
	if w.h == nil {
		return sha256.Sum256(last)
	}
	w.h.Write(last)
	return [sha256.Size]byte(w.h.Sum(nil))
}
