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
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/solver/pb"
)

// buildInput is where a build reads from.
type buildInput struct {
	attrs   map[string]string         // frontend attributes
	dirs    map[string]string         // local directories, by the names that the frontend uses
	inputs  map[string]*pb.Definition // frontend inputs
	layouts map[string]string         // OCI layouts, by name
	temp    string                    // a folder to remove in the end; "" for none
}

// Close removes what was put aside.
func (in *buildInput) Close() error {
	if in.temp == "" {
		return nil
	}
	return os.RemoveAll(in.temp)
}

// input finds the context and the Dockerfile. The caller closes what it returns.
func (c *cli) input(ctx context.Context, where string, f *buildFlags) (_ *buildInput, err error) {
	in := &buildInput{
		attrs: map[string]string{}, dirs: map[string]string{},
		inputs: map[string]*pb.Definition{}, layouts: map[string]string{},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.Close())
		}
	}()
	switch {
	case where == "-" && f.file == "-":
		return nil, errors.New("both the context and the Dockerfile are to be read from standard input: it has one")
	case where == "-":
		err = in.standardInput(ctx, c.in, f)
	case isURL(where):
		err = in.url(where, f)
	default:
		err = in.directory(ctx, where, f)
	}
	if err != nil {
		return nil, err
	}
	if f.file == "-" {
		if err := in.dockerfile(c.in); err != nil {
			return nil, err
		}
	}
	if err := in.checkPolicy(f); err != nil {
		return nil, err
	}
	if err := in.containerignore(); err != nil {
		return nil, err
	}
	for _, nc := range f.contexts {
		if err := in.named(nc); err != nil {
			return nil, fmt.Errorf("--build-context %q: %w", nc, err)
		}
	}
	return in, nil
}

func isURL(where string) bool {
	if _, err := os.Stat(where); err == nil {
		return false // a directory is what it is, whatever its name
	}
	if _, ok, _ := dockerui.DetectGitContext(where, nil); ok {
		return true
	}
	_, _, ok := dockerui.DetectHTTPContext(where)
	return ok
}

func (in *buildInput) url(where string, f *buildFlags) error {
	in.attrs["context"] = where
	switch {
	case f.file == "" || f.file == "-":
		return nil
	case isURL(f.file):
		return fmt.Errorf("-f %s: a Dockerfile by URL goes with a local context: name one in the context, or pipe it to -f -", f.file)
	case filepath.IsAbs(f.file): // on this machine, as for docker
		file, err := findDockerfile("", f.file)
		if err != nil {
			return err
		}
		return in.localDockerfile(file)
	}
	in.attrs["filename"] = filepath.ToSlash(f.file) // in the context
	return nil
}

// localDockerfile has the frontend read a file of this machine, whatever the context.
func (in *buildInput) localDockerfile(file string) error {
	file, err := followOut(file)
	if err != nil {
		return fmt.Errorf("the Dockerfile: %w", err)
	}
	in.dirs[dockerui.DefaultLocalNameDockerfile] = filepath.Dir(file)
	in.attrs["filename"] = filepath.Base(file)
	in.attrs["dockerfilekey"] = dockerui.DefaultLocalNameDockerfile
	return nil
}

// remoteDockerfile is one that a step of the build fetches.
func (in *buildInput) remoteDockerfile(ctx context.Context, url string) error {
	if _, ok, _ := dockerui.DetectGitContext(url, nil); ok {
		return fmt.Errorf("-f %s: it is a repository, and no file: give it as the context", url)
	}
	def, err := llb.HTTP(url, llb.Filename("Dockerfile"), llb.WithCustomName("[internal] load Dockerfile from "+url)).Marshal(ctx)
	if err != nil {
		return fmt.Errorf("-f %s: %w", url, err)
	}
	in.inputs[dockerui.DefaultLocalNameDockerfile] = def.ToPB()
	in.attrs["filename"] = "Dockerfile"
	return nil
}

// directory is a context on this machine. The Dockerfile may be outside it.
func (in *buildInput) directory(ctx context.Context, dir string, f *buildFlags) error {
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("the context %q does not exist: it should be a directory, a URL, or - for standard input", dir)
	case err != nil:
		return fmt.Errorf("the context: %w", err)
	case !st.IsDir():
		return fmt.Errorf("the context %q is not a directory (a Dockerfile is named with -f)", dir)
	}
	in.dirs[dockerui.DefaultLocalNameContext] = dir
	if f.file == "-" {
		return nil
	}
	if isURL(f.file) {
		return in.remoteDockerfile(ctx, f.file)
	}
	if f.file == "" {
		name, err := defaultDockerfile(dir)
		in.dirs[dockerui.DefaultLocalNameDockerfile] = dir
		in.attrs["filename"] = name
		return err
	}
	file, err := findDockerfile(dir, f.file)
	if err != nil {
		return err
	}
	if st, err := os.Stat(file); err == nil && st.Mode()&os.ModeNamedPipe != 0 {
		return in.pipe(ctx, file)
	}
	if file, err = followOut(file); err != nil {
		return fmt.Errorf("the Dockerfile: %w", err)
	}
	in.dirs[dockerui.DefaultLocalNameDockerfile] = filepath.Dir(file)
	in.attrs["filename"] = filepath.Base(file)
	return nil
}

// pipe reads the Dockerfile from a pipe, as in -f <(program).
func (in *buildInput) pipe(ctx context.Context, path string) error {
	// Without O_NONBLOCK, opening waits for somebody to write, and cannot be stopped.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("the Dockerfile: %w", err)
	}
	defer f.Close()
	return in.putDockerfile(path, &input{ctx: ctx, f: f})
}

// findDockerfile returns the path of a Dockerfile that is named: it is looked for here
// and then in the context, and may be a link to anywhere.
func findDockerfile(dir, name string) (string, error) {
	candidates := []string{name}
	if !filepath.IsAbs(name) && filepath.Clean(dir) != "." {
		candidates = append(candidates, filepath.Join(dir, name))
	}
	for _, p := range candidates {
		st, err := os.Stat(p)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return "", fmt.Errorf("the Dockerfile: %w", err)
		case st.IsDir():
			return "", fmt.Errorf("the Dockerfile %q is a directory", p)
		}
		return p, nil
	}
	return "", fmt.Errorf("there is no Dockerfile: %s does not exist (name one with -f)", strings.Join(candidates, ", and "))
}

// followOut returns the file that path stands for, if path is a link out of its
// folder: only links within are followed when the folder is read.
func followOut(path string) (string, error) {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(dir, target); err == nil && filepath.IsLocal(rel) {
		return path, nil
	}
	return target, nil
}

// aside makes the folder for what is read from standard input.
func (in *buildInput) aside() (string, error) {
	if in.temp == "" {
		dir, err := os.MkdirTemp("", "tenon-input-")
		if err != nil {
			return "", err
		}
		in.temp = dir
	}
	return in.temp, nil
}

// dockerfile reads the Dockerfile from standard input.
func (in *buildInput) dockerfile(r io.Reader) error {
	if in.attrs["context"] != "" { // a URL, which has Dockerfiles of its own
		in.attrs["dockerfilekey"] = dockerui.DefaultLocalNameDockerfile
	}
	return in.putDockerfile("standard input", r)
}

func (in *buildInput) putDockerfile(from string, r io.Reader) error {
	dir, err := in.aside()
	if err != nil {
		return err
	}
	if err := put(filepath.Join(dir, "dockerfile", "Dockerfile"), r); err != nil {
		return fmt.Errorf("the Dockerfile from %s: %w", from, err)
	}
	in.dirs[dockerui.DefaultLocalNameDockerfile] = filepath.Join(dir, "dockerfile")
	in.attrs["filename"] = "Dockerfile"
	return nil
}

// put writes a new file, and the folder it is in.
func put(path string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
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
	if !isArchive(head) {
		if f.file != "" {
			return errors.New("standard input is not a tar archive: with -f, it has to be one, with the Dockerfile in it")
		}
		empty, err := in.aside()
		if err != nil {
			return err
		}
		empty = filepath.Join(empty, "context")
		if err := os.Mkdir(empty, 0o700); err != nil {
			return err
		}
		in.dirs[dockerui.DefaultLocalNameContext] = empty
		return in.putDockerfile("standard input", br)
	}
	return in.archive(ctx, br, f)
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

// archive is a context as a tar archive. It is kept as a file, and unpacked by the
// step that makes the context of it: where names and links cannot climb out, and
// which is cached by what is in the archive.
func (in *buildInput) archive(ctx context.Context, r io.Reader, f *buildFlags) error {
	const name = "context.tar"
	dir, err := in.aside()
	if err != nil {
		return err
	}
	if err := put(filepath.Join(dir, "stdin", name), r); err != nil {
		return fmt.Errorf("the context from standard input: %w", err)
	}
	if err := checkArchive(filepath.Join(dir, "stdin", name)); err != nil {
		return fmt.Errorf("standard input is no tar archive that can be read: %w", err)
	}
	in.dirs["stdin"] = filepath.Join(dir, "stdin")
	st := llb.Scratch().File(
		llb.Copy(llb.Local("stdin", llb.WithCustomName("[internal] load context from standard input")), name, "/", &llb.CopyInfo{AttemptUnpack: true}),
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

// checkArchive reads the first header of a tar archive: what is none would be copied
// into the context as the file that it is.
func checkArchive(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head, err := bufio.NewReader(f).Peek(6)
	if err != nil {
		return err
	}
	if isBzip2OrXZ(head) {
		return nil // read by programs, when it is unpacked
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := compression.DecompressStream(f)
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

// named adds a context that the Dockerfile can use by name.
func (in *buildInput) named(flag string) error {
	name, where, ok := strings.Cut(flag, "=")
	if !ok || name == "" || where == "" {
		return errors.New("it should look like name=PATH")
	}
	name, err := contextName(name)
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(where, "docker-image://"):
		in.attrs["context:"+name] = where
	case strings.HasPrefix(where, "target:"):
		return errors.New("target: is for bake files")
	case strings.HasPrefix(where, "oci-layout://"):
		return in.layout(name, strings.TrimPrefix(where, "oci-layout://"))
	case isURL(where):
		in.attrs["context:"+name] = where
	default:
		st, err := os.Stat(where)
		if err != nil {
			return err
		}
		if !st.IsDir() {
			return fmt.Errorf("%s is not a directory", where)
		}
		local := name
		if local == dockerui.DefaultLocalNameContext || local == dockerui.DefaultLocalNameDockerfile || local == "stdin" {
			local = "_" + local // these are taken
		}
		in.dirs[local] = where
		in.attrs["context:"+name] = "local:" + local
	}
	return nil
}

// contextName is the name of a context as the frontend looks for it: that of an image
// is in its short form, as in "alpine" for docker.io/library/alpine:latest.
func contextName(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(strings.ToLower(name))
	if err != nil {
		return "", fmt.Errorf("%q is neither a name of a stage nor one of an image: %w", name, err)
	}
	return strings.TrimSuffix(reference.FamiliarString(named), ":latest"), nil
}
