package fileop

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/buildkit/solver/pb"
	"github.com/tenonbuild/tenon/solver"
)

// pathError is an error whose text says where in a tree, and not where the tree is
// mounted, which means nothing to people.
type pathError struct {
	text string
	err  error
}

func (e *pathError) Error() string { return e.text }
func (e *pathError) Unwrap() error { return e.err }

// inTree takes the directories where trees are mounted out of an error's text.
func inTree(err error, dirs ...string) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, d := range dirs {
		text = strings.ReplaceAll(text, d+"/", "/")
		text = strings.ReplaceAll(text, d, "/")
	}
	if errors.Is(err, syscall.ENOSPC) {
		text += ": make room with tenon prune, or give the root more"
	}
	return &pathError{text: text, err: err}
}

// missing is the error of a path that is not in the tree it is copied from.
type missing struct {
	path string
	tree string // which tree that is, in words; the run knows it
}

func (e *missing) Error() string { return strconv.Quote(e.path) + ": not found in " + e.tree }
func (e *missing) Unwrap() error { return fs.ErrNotExist }

func notFound(p string) error { return &missing{path: p, tree: "the tree that it is copied from"} }

// treeName says which tree a vertex gives.
func treeName(v solver.Vertex) string {
	if o, ok := v.Sys().(*pb.Op); ok {
		if name, ok := strings.CutPrefix(o.GetSource().GetIdentifier(), "local://"); ok {
			if name == "context" {
				name = "the build context"
			} else {
				name = "the context " + strconv.Quote(name)
			}
			return name + ", or left out of it by a .dockerignore"
		}
	}
	return "the result of " + v.Name()
}
