package frontend

import (
	"fmt"

	"github.com/moby/buildkit/solver/pb"
)

// What frontends have solved and asked about is kept until their build ends. So that is bounded,
// however small each request is.
const (
	maxDefinitions = 50_000
	maxDefinedOps  = 4_000_000
	maxDefined     = 512 << 20 // bytes
	maxResolved    = 100_000   // answers about images
)

// defined counts the definitions of a build.
type defined struct{ number, ops, bytes int }

// take counts definitions that are kept, and bytes beside them. Those that are too many are
// not counted.
func (k *kept) take(bytes int, defs ...*pb.Definition) error {
	add := defined{number: len(defs), bytes: bytes}
	for _, def := range defs {
		add.ops += len(def.GetDef())
		add.bytes += def.SizeVT()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	sum := defined{k.defined.number + add.number, k.defined.ops + add.ops, k.defined.bytes + add.bytes}
	tooMany := func(is string, most int) error {
		return fmt.Errorf("the definitions that one build solves are more than %d %s together: make several builds of it", most, is)
	}
	switch {
	case sum.number > maxDefinitions:
		return tooMany("definitions", maxDefinitions)
	case sum.ops > maxDefinedOps:
		return tooMany("operations", maxDefinedOps)
	case sum.bytes > maxDefined:
		return tooMany("MiB", maxDefined>>20)
	}
	k.defined = sum
	return nil
}

// asked is what a frontend is asked for: how many bytes its attributes have, and its inputs.
func asked(attrs map[string]string, inputs map[string]*pb.Definition) (bytes int, defs []*pb.Definition) {
	for k, v := range attrs {
		bytes += len(k) + len(v)
	}
	for name, def := range inputs {
		bytes += len(name)
		defs = append(defs, def)
	}
	return bytes, defs
}
