package keygraph

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
)

// How a name is packed. Each string has exactly one packed form, which tells where it
// ends. So packed names are compared as bytes, and none is the beginning of another.
const (
	// packedRaw: a uvarint of 4 × length, then the bytes.
	packedRaw = 0
	// packedSHA256: this byte, then the 32 bytes of "sha256:" and lower-case hex.
	packedSHA256 = 1
	// packedBase64: this byte, then the 32 bytes of 43 characters of unpadded URL-safe
	// base64.
	packedBase64 = 2

	sha256Prefix = "sha256:"
	packedSize   = 32
)

var base64Strict = base64.RawURLEncoding.Strict()

// appendPacked appends the packed form of s.
func appendPacked(b []byte, s string) []byte {
	var text [2 * packedSize]byte
	var out [1 + packedSize + 1]byte // base64 may write one more
	switch {
	case len(s) == len(sha256Prefix)+2*packedSize && s[:len(sha256Prefix)] == sha256Prefix:
		copy(text[:], s[len(sha256Prefix):])
		if _, err := hex.Decode(out[1:], text[:]); err == nil && !hasUpper(&text) {
			out[0] = packedSHA256
			return append(b, out[:1+packedSize]...)
		}
	case len(s) == 43:
		// What the decoder passes over, it does not count.
		if n, err := base64Strict.Decode(out[1:], text[:copy(text[:], s)]); err == nil && n == packedSize {
			out[0] = packedBase64
			return append(b, out[:1+packedSize]...)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(s))<<2|packedRaw)
	return append(b, s...)
}

// hasUpper reports whether there is an upper-case letter among hexadecimal digits.
func hasUpper(digits *[2 * packedSize]byte) bool {
	for _, d := range digits {
		if d < 'a' && d > '9' {
			return true
		}
	}
	return false
}

// packedLen is the length of the packed name that b begins with; 0 if it does not
// begin with one.
func packedLen(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	size, head := uint64(packedSize), 1
	switch {
	case b[0]&3 == packedRaw:
		if size, head = binary.Uvarint(b); head <= 0 || size&3 != packedRaw {
			return 0
		}
		size >>= 2
	case b[0] != packedSHA256 && b[0] != packedBase64:
		return 0
	}
	if size > uint64(len(b)-head) {
		return 0
	}
	return head + int(size)
}

// unpack returns the string that b begins with, packed, and what follows it.
func unpack(b []byte) (s string, rest []byte) {
	switch b[0] {
	case packedSHA256:
		var out [len(sha256Prefix) + 2*packedSize]byte
		copy(out[:], sha256Prefix)
		hex.Encode(out[len(sha256Prefix):], b[1:1+packedSize])
		return string(out[:]), b[1+packedSize:]
	case packedBase64:
		var out [43]byte
		base64.RawURLEncoding.Encode(out[:], b[1:1+packedSize])
		return string(out[:]), b[1+packedSize:]
	}
	size, head := binary.Uvarint(b)
	end := head + int(size>>2)
	return string(b[head:end]), b[end:]
}

// A label is an operation, one of its outputs, and a selector.

func appendLabel(b []byte, op string, output int, selector string) []byte {
	b = appendPacked(b, op)
	b = binary.AppendVarint(b, int64(output))
	return appendPacked(b, selector)
}

// labelLen is the length of the label that b begins with; 0 if it does not begin with
// one.
func labelLen(b []byte) int {
	op := packedLen(b)
	_, output := binary.Varint(b[op:])
	if op == 0 || output <= 0 {
		return 0
	}
	selector := packedLen(b[op+output:])
	if selector == 0 {
		return 0
	}
	return op + output + selector
}

func unpackLabel(b []byte) (l Link) {
	l.Op, b = unpack(b)
	output, n := binary.Varint(b)
	l.Output = int(output)
	l.Selector, _ = unpack(b[n:])
	return l
}
