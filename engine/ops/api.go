// Package ops finds the op that runs an LLB vertex.
package ops

import (
	"errors"

	"github.com/moby/buildkit/executor"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/solver"
)

// Env is what ops work with.
type Env struct {
	Store      *store.Store
	Sources    *source.Set
	Sessions   *session.Sessions
	Executor   executor.Executor // nil if this machine cannot run containers; exec ops then say why: NoExecutor
	NoExecutor error
}

// Maker is implemented by the Sys() of a vertex that brings its own op: a program
// that embeds the engine can put vertices of its own beside those of LLB.
type Maker interface {
	MakeOp(env *Env, v solver.Vertex, b solver.Builder) (solver.Op, error)
}

// Resolve is the solver's ResolveOpFunc.
func (e *Env) Resolve(v solver.Vertex, b solver.Builder) (solver.Op, error) {
	return nil, errors.New("not there yet")
}
