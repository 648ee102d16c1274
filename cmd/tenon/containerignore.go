package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/buildkit/frontend/dockerui"
	"golang.org/x/sys/unix"
)

// maxIgnore bounds what is read as a .containerignore, in bytes.
const maxIgnore = 1 << 20

// containerignore has podman's names of the file say what is left out of a local
// context, where there is one. The first of these that is there counts:
//
//	FILE.containerignore, FILE.dockerignore, .containerignore, .dockerignore
//
// The frontend knows the second and the last. So what podman's has is put beside the
// Dockerfile, as the second.
func (in *buildInput) containerignore() error {
	dir, name := in.dirs[dockerui.DefaultLocalNameDockerfile], in.attrs["filename"]
	context := in.dirs[dockerui.DefaultLocalNameContext]
	beside := in.aside[dockerui.DefaultLocalNameDockerfile]
	if context == "" || dir == "" && beside == nil {
		return nil
	}
	ignore, err := []byte(nil), fs.ErrNotExist
	if dir != "" {
		ignore, err = readWithin(dir, name+".containerignore", maxIgnore)
		if _, other := os.Lstat(filepath.Join(dir, name+".dockerignore")); errors.Is(err, fs.ErrNotExist) && other == nil {
			return nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		ignore, err = readWithin(context, ".containerignore", maxIgnore)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("what the context leaves out: %w", err)
	}
	if beside == nil {
		text, err := readWithin(dir, name, maxDockerfile)
		if err != nil {
			return fmt.Errorf("the Dockerfile: %w", err)
		}
		beside = aside{name: inMemory(text)}
		in.aside[dockerui.DefaultLocalNameDockerfile] = beside
		delete(in.dirs, dockerui.DefaultLocalNameDockerfile)
	}
	beside[name+".dockerignore"] = inMemory(ignore)
	return nil
}

// readWithin reads a regular file of a folder, of at most limit bytes. A link out of it
// is not followed.
func readWithin(dir, name string, limit int64) (_ []byte, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	path := filepath.Join(dir, name)
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		if to, lerr := root.Readlink(name); lerr == nil {
			return nil, fmt.Errorf("%s is a link to %q, which is nothing within its folder", path, to)
		}
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	dt, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(dt)) > limit {
		err = fmt.Errorf("%s is larger than %d MiB", path, limit>>20)
	}
	return dt, err
}
