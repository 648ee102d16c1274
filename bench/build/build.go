// Package build measures whole builds of Dockerfiles: by Tenon's engine, by its daemon,
// and by BuildKit's daemon as the peer.
package build

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Request is a build of one Dockerfile.
type Request struct {
	Dir     string // the context, with the Dockerfile
	Busybox string // the directory that is known to the Dockerfile as "busybox"
	Output  Output // the zero value leaves the result in the cache
	// CacheFrom and CacheTo are names of caches in registries; "" is none. What is
	// written is every step (mode=max).
	CacheFrom, CacheTo string
}

// Output is what is made of a build's result.
type Output struct {
	Type string // "tar", "oci", "local", "image" or "push"; "" for nothing
	Path string // the file or directory; for an image, and one that is pushed, its name
}

// Builder builds. Its methods may be called concurrently.
type Builder interface {
	Name() string
	// Build builds, and returns how many RUN steps were executed for it.
	Build(ctx context.Context, req Request) (ran int, err error)
	// Command is the command line of the same build by the program that users
	// call. It needs what the builder has: see Idle.
	Command(req Request) []string
	// Idle lets go of what a Command needs to itself, until the function that it
	// returns is called.
	Idle(ctx context.Context) (resume func(context.Context) error, err error)
	// Empty removes all that was built and fetched.
	Empty(ctx context.Context) error
	// Root is the directory in which it keeps what it builds and fetches.
	Root() string
	Close() error
}

// open makes the file of an output.
func (o Output) open() (io.WriteCloser, error) {
	f, err := os.Create(o.Path)
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	return f, nil
}

// attrs are the attributes of the output's exporter.
func (o Output) attrs() map[string]string {
	switch o.Type {
	case "image":
		return map[string]string{"name": o.Path}
	case "push":
		return map[string]string{"name": o.Path, "push": "true", "store": "false"}
	}
	return nil
}

// kind is the type of the output's exporter.
func (o Output) kind() string {
	if o.Type == "push" {
		return "image"
	}
	return o.Type
}

// cacheAttrs are the attributes of a cache in a registry.
func cacheAttrs(ref string) map[string]string { return map[string]string{"ref": ref, "mode": "max"} }

// flag is the output as --output has it.
func (o Output) flag() string {
	if o.Type == "image" {
		return "type=image,name=" + o.Path
	}
	return "type=" + o.Type + ",dest=" + o.Path
}

// isRun says whether a step of this name is a RUN. Steps are named
// "[stage 1/2] RUN ...".
func isRun(name string) bool {
	_, instruction, ok := strings.Cut(name, "] ")
	return ok && strings.HasPrefix(name, "[") && strings.HasPrefix(instruction, "RUN ")
}

// write writes the files of a tree, and the directories they are in.
func write(dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
