package execop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"strings"

	"github.com/containerd/continuity/fs"
	"github.com/moby/buildkit/executor"

	"github.com/tenonbuild/tenon/engine/emulation"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/regular"
)

// checkProgram is an error for a program that this machine does not run, where a step says
// that it is for another one. What cannot be found out is left to the kernel.
func (o *op) checkProgram(ctx context.Context, m *mounts, meta executor.Meta) (err error) {
	if p := o.platform; p == nil || p.Architecture == "" || p.Architecture == runtime.GOARCH || len(meta.Args) == 0 {
		return nil
	}
	var tree store.Tree
	var selector string
	for i, s := range o.slots {
		if s.isRoot() {
			tree, selector = m.trees[i], s.mount.Selector
		}
	}
	if tree == nil {
		return nil
	}
	dir, unmount, err := store.MountLocal(ctx, tree, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	if dir, err = fs.RootPath(dir, selector); err != nil {
		return nil
	}
	if err := emulation.CheckProgram(program(dir, meta)); err != nil {
		return fmt.Errorf("running %q: %w", o.command(), err)
	}
	return nil
}

const (
	// headSize is how much of a program is read: the kernel reads as much to find out
	// what runs a script.
	headSize = 256
	// maxScripts is how many scripts may be run by a script, for the kernel too.
	maxScripts = 4
)

// program is the beginning of the program that a process begins with: of a script that is
// what runs it. Nil if there is none.
func program(root string, meta executor.Meta) []byte {
	name := meta.Args[0]
	head := lookUp(root, name, meta)
	for range maxScripts {
		line, ok := strings.CutPrefix(string(head), "#!")
		if !ok {
			return head
		}
		line, _, _ = strings.Cut(line, "\n")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			return nil
		}
		head = readHead(root, fields[0])
	}
	return nil
}

// lookUp finds a program as a shell does.
func lookUp(root, name string, meta executor.Meta) []byte {
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join("/", meta.Cwd, name)
		}
		return readHead(root, name)
	}
	for _, v := range meta.Env {
		list, ok := strings.CutPrefix(v, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range strings.Split(list, ":") {
			if head := readHead(root, path.Join("/", dir, name)); head != nil {
				return head
			}
		}
		return nil
	}
	return nil
}

// readHead is the beginning of a file in a tree; nil if it cannot be read.
func readHead(root, name string) []byte {
	p, err := fs.RootPath(root, name)
	if err != nil {
		return nil
	}
	f, _, err := regular.Open(p)
	if err != nil {
		return nil
	}
	defer f.Close()
	head := make([]byte, headSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return head[:n]
}
