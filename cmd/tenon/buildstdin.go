package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"golang.org/x/sys/unix"

	"github.com/tenonbuild/tenon/internal/stream"
)

// maxDockerfile is how many bytes of a Dockerfile the frontend reads.
const maxDockerfile = 16 << 20

// pipe reads the Dockerfile from a pipe, as in -f <(program).
func (in *buildInput) pipe(ctx context.Context, path string) error {
	f, err := stream.Open(ctx, path)
	if err != nil {
		return fmt.Errorf("the Dockerfile: %w", err)
	}
	return errors.Join(in.putDockerfile(path, f), f.Close())
}

// dockerfile reads the Dockerfile from standard input.
func (in *buildInput) dockerfile(r io.Reader) error {
	if in.attrs["context"] != "" { // a URL, which has Dockerfiles of its own
		in.attrs["dockerfilekey"] = dockerui.DefaultLocalNameDockerfile
	}
	return in.putDockerfile("standard input", r)
}

func (in *buildInput) putDockerfile(from string, r io.Reader) error {
	dt, err := io.ReadAll(io.LimitReader(r, maxDockerfile+1))
	if err == nil && len(dt) > maxDockerfile {
		err = fmt.Errorf("it is larger than %d MiB", maxDockerfile>>20)
	}
	if err != nil {
		return fmt.Errorf("the Dockerfile from %s: %w", from, err)
	}
	in.aside[dockerui.DefaultLocalNameDockerfile] = aside{"Dockerfile": inMemory(dt)}
	in.attrs["filename"] = "Dockerfile"
	return nil
}

// standardInput reads a context or, if that is what it looks like, a Dockerfile
// that needs none.
func (in *buildInput) standardInput(ctx context.Context, r io.Reader, f *buildFlags) error {
	br := bufio.NewReader(r)
	head, err := br.Peek(512)
	if len(head) == 0 {
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading standard input: %w", err)
		}
		return errors.New("standard input is empty: it should be a Dockerfile, or a tar archive of a context")
	}
	if isArchive(head) {
		return in.readArchive(ctx, br, f)
	}
	if f.file != "" {
		return errors.New("standard input is not a tar archive: with -f, it has to be one, with the Dockerfile in it")
	}
	in.aside[dockerui.DefaultLocalNameContext] = aside{}
	return in.putDockerfile("standard input", br)
}

// isArchive tells a tar archive, compressed or not, from its first 512 bytes.
func isArchive(head []byte) bool {
	if compression.DetectCompression(head) != compression.Uncompressed {
		return true
	}
	// bzip2 and xz, which the unpacking of the file op knows as well.
	if isBzip2OrXZ(head) {
		return true
	}
	return len(head) >= 262 && string(head[257:262]) == "ustar"
}

func isBzip2OrXZ(head []byte) bool {
	return bytes.HasPrefix(head, []byte("BZh")) || bytes.HasPrefix(head, []byte("\xfd7zXZ\x00"))
}

// readArchive reads a context as a tar archive. It is kept as a file, and unpacked by the
// step that makes the context of it: where names and links cannot climb out, and
// which is cached by what is in the archive.
func (in *buildInput) readArchive(ctx context.Context, r io.Reader, f *buildFlags) error {
	const name, dir = "context.tar", "stdin"
	var err error
	if in.archive, err = unnamedFile(); err != nil {
		return fmt.Errorf("a place for the context from standard input: %w", err)
	}
	size, err := io.Copy(in.archive, r)
	if err != nil {
		return fmt.Errorf("the context from standard input: %w", err)
	}
	kept := io.NewSectionReader(in.archive, 0, size)
	if err := checkArchive(kept); err != nil {
		return fmt.Errorf("standard input is no tar archive that can be read: %w", err)
	}
	in.aside[dir] = aside{name: kept}
	st := llb.Scratch().File(
		llb.Copy(llb.Local(dir, llb.WithCustomName("[internal] load context from standard input")), name, "/", &llb.CopyInfo{AttemptUnpack: true}),
		llb.WithCustomName("[internal] unpack context"),
	)
	def, err := st.Marshal(ctx)
	if err != nil {
		return err
	}
	in.inputs[dockerui.DefaultLocalNameContext] = def.ToPB()
	in.inputs[dockerui.DefaultLocalNameDockerfile] = def.ToPB()
	if f.file != "" {
		in.attrs["filename"] = filepath.ToSlash(f.file)
	}
	return nil
}

// unnamedFile makes a file in $TMPDIR that is gone when the process is, however it ends.
func unnamedFile() (*os.File, error) {
	if f, err := os.OpenFile(os.TempDir(), os.O_RDWR|unix.O_TMPFILE, 0o600); err == nil {
		return f, nil
	}
	// The file system has none without a name.
	f, err := os.CreateTemp("", "tenon-input-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// checkArchive reads the first header of a tar archive: what is none would be copied
// into the context as the file that it is.
func checkArchive(f *io.SectionReader) error {
	head := make([]byte, 6)
	if _, err := f.ReadAt(head, 0); err != nil {
		return err
	}
	if isBzip2OrXZ(head) {
		return nil // read by programs, when it is unpacked
	}
	r, err := compression.DecompressStream(io.NewSectionReader(f, 0, f.Size()))
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = tar.NewReader(r).Next()
	if errors.Is(err, io.EOF) {
		return nil // an empty one
	}
	return err
}
