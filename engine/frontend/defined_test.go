package frontend

import (
	"testing"

	"github.com/moby/buildkit/solver/pb"

	"github.com/tenonbuild/tenon/internal/check"
)

// Definitions of a build are bounded in number, operations and bytes. What is refused is not
// counted.
func TestTake(t *testing.T) {
	large := &pb.Definition{Def: [][]byte{make([]byte, 100<<20)}}
	wide := &pb.Definition{Def: make([][]byte, 1_500_000)}
	k := &kept{}
	for range 5 {
		check.OK(t, k.take(0, large))
	}
	for range 2 {
		check.Says(t, k.take(0, large), "more than 512 MiB together: make several builds of it")
	}
	check.Says(t, k.take(12<<20), "512 MiB")
	check.OK(t, k.take(1<<20, nil, &pb.Definition{}))

	k = &kept{}
	check.OK(t, k.take(0, wide, wide))
	check.Says(t, k.take(0, wide), "more than 4000000 operations together")
	for range maxDefinitions - 2 {
		check.OK(t, k.take(0, nil))
	}
	check.Says(t, k.take(0, nil), "more than 50000 definitions together")
}
