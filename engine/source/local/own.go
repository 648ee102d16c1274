package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tenonbuild/tenon/engine/session"
)

// own are the paths of a directory, in place, that this process writes while it reads
// the directory, or afterwards.
type own struct {
	place   *place
	root    os.FileInfo     // of the store; nil if there is none to look for
	outputs map[string]bool // of the build, below the directory

	left, seen []string // what was left out; which outputs were read
}

func (s *Source) own(d session.Dir, at *place) *own {
	o := &own{place: at, outputs: map[string]bool{}}
	if at.dir == "" {
		return o
	}
	o.root, _ = os.Stat(s.opt.Store.Root()) // that it is there is the store's business
	for _, path := range d.Outputs {
		if rel, err := filepath.Rel(at.dir, path); err == nil && filepath.IsLocal(rel) {
			o.outputs[filepath.ToSlash(rel)] = true
		}
	}
	return o
}

// leave says whether a path is the store's root, which changes all the time and is
// nobody's input. It takes note of outputs, which may well be inputs, too.
func (o *own) leave(path string, dir bool) bool {
	if o.outputs[path] {
		o.seen = append(o.seen, path)
	}
	if !dir || o.root == nil {
		return false
	}
	// Not by its path: it may have several, as where it is mounted twice.
	fi, err := o.place.lstat(path)
	if err != nil || !os.SameFile(fi, o.root) {
		return false
	}
	o.left = append(o.left, path)
	return true
}

// tell warns of what is not as it seems.
func (o *own) tell(ctx context.Context) {
	for _, path := range o.left {
		warn(ctx, fmt.Errorf("%s is left out of the context: it is Tenon's own state folder: name it in .dockerignore", path))
	}
	for _, path := range o.seen {
		warn(ctx, fmt.Errorf("%s is an output of this build, and was read with the context: the next build finds it changed, unless .dockerignore names it", path))
	}
}
