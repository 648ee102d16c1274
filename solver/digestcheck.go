package solver

import (
	"fmt"

	"github.com/opencontainers/go-digest"
)

// What a byte may be part of in a digest, ALGORITHM:ENCODED.
const (
	inAlgorithm = 1 << iota
	inEncoded
)

// digestBytes says what each byte may be part of. The classes are those of
// go-digest's grammar.
var digestBytes = func() (t [256]uint8) {
	for c := range t {
		switch c := byte(c); {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '_', c == '-', c == '+':
			t[c] = inAlgorithm | inEncoded
		case c >= 'A' && c <= 'Z', c == '=':
			t[c] = inEncoded
		}
	}
	return t
}()

// checkDigest accepts any algorithm, for some digests stand for what has no
// content ("random:…").
func checkDigest(d digest.Digest) error {
	i := 0
	for i < len(d) && digestBytes[d[i]]&inAlgorithm != 0 {
		i++
	}
	if i == 0 || i >= len(d)-1 || d[i] != ':' {
		return fmt.Errorf("%w: %q", digest.ErrDigestInvalidFormat, string(d))
	}
	// Without a branch for each byte, for this is done for every vertex.
	allowed := uint8(inEncoded)
	for j := i + 1; j < len(d); j++ {
		allowed &= digestBytes[d[j]]
	}
	if allowed == 0 {
		return fmt.Errorf("%w: %q", digest.ErrDigestInvalidFormat, string(d))
	}
	return nil
}
