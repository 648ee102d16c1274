package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
	aside   map[string]aside          // what was read from standard input or a pipe, by the names of dirs
	archive *os.File                  // what aside has on a disk; nil for nothing
}

// Close gives back what was put aside.
func (in *buildInput) Close() error {
	if in.archive == nil {
		return nil
	}
	return in.archive.Close()
}

// input finds the context and the Dockerfile. The caller closes what it returns.
func (c *cli) input(ctx context.Context, where string, f *buildFlags) (_ *buildInput, err error) {
	in := &buildInput{
		attrs: map[string]string{}, dirs: map[string]string{},
		inputs: map[string]*pb.Definition{}, layouts: map[string]string{}, aside: map[string]aside{},
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
	return "", fmt.Errorf("there is no Dockerfile %q: looked for %s", name, strings.Join(candidates, " and "))
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
