package remotecache

import (
	"encoding/json"
	"fmt"
)

// maxParts bounds of how many parts JSON of somebody else's may be. Parts can be small, such
// as {}, and what is made of one in memory is some hundred bytes. Of a cache that says
// something, one has twenty bytes and more.
const maxParts = 1 << 20

// chainDepth is how deep the numbers of a chain's layers are nested in a config. There are
// many where BuildKit has written it, and they need little memory: they are no parts.
const chainDepth = 6

// unmarshal reads JSON of somebody else's.
func unmarshal(dt []byte, v any) error {
	if n := parts(dt); n > maxParts {
		return fmt.Errorf("it consists of %d parts, and at most %d are read", n, maxParts)
	}
	return json.Unmarshal(dt, v)
}

// parts counts the lists and objects of JSON, and the commas between what is in these.
func parts(dt []byte) (n int) {
	depth, quoted := 0, false
	for i := 0; i < len(dt); i++ {
		switch c := dt[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			n++
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ',' && depth < chainDepth:
			n++
		}
	}
	return n
}
