package main

import (
	"github.com/tenonbuild/tenon/bench"
	"github.com/tenonbuild/tenon/bench/floor"
	"github.com/tenonbuild/tenon/bench/ours"
	"github.com/tenonbuild/tenon/bench/peer"
)

// subjects are the solvers in the order in which the first round runs them.
func subjects() []bench.Subject {
	return []bench.Subject{ours.Subject{}, peer.Subject{}, floor.Subject{}}
}
