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
// The frontend knows the second and the last. So what podman's has is put beside a copy
// of the Dockerfile, as the second.
func (in *buildInput) containerignore() error {
	dir, name := in.dirs[dockerui.DefaultLocalNameDockerfile], in.attrs["filename"]
	context := in.dirs[dockerui.DefaultLocalNameContext]
	if dir == "" || context == "" {
		return nil
	}
	ignore, err := readWithin(dir, name+".containerignore")
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(filepath.Join(dir, name+".dockerignore")); err == nil {
			return nil
		}
		ignore, err = readWithin(context, ".containerignore")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("what the context leaves out: %w", err)
	}
	text, err := readWithin(dir, name)
	if err != nil {
		return fmt.Errorf("the Dockerfile: %w", err)
	}
	temp, err := in.aside()
	if err != nil {
		return err
	}
	temp = filepath.Join(temp, "ignoring")
	if err := os.Mkdir(temp, 0o700); err != nil {
		return err
	}
	for file, dt := range map[string][]byte{name: text, name + ".dockerignore": ignore} {
		if err := os.WriteFile(filepath.Join(temp, file), dt, 0o644); err != nil {
			return err
		}
	}
	in.dirs[dockerui.DefaultLocalNameDockerfile] = temp
	return nil
}

// readWithin reads a regular file of a folder. A link out of it is not followed.
func readWithin(dir, name string) (_ []byte, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	path := filepath.Join(dir, name)
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	dt, err := io.ReadAll(io.LimitReader(f, maxIgnore+1))
	if err == nil && len(dt) > maxIgnore {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxIgnore>>20)
	}
	return dt, err
}
