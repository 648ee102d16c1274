package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// defaultNames are what a Dockerfile is called that is not named, the first that there
// is.
var defaultNames = []string{"Dockerfile", "dockerfile", "Containerfile"}

// defaultDockerfile finds the Dockerfile of a context where none is named, and returns
// its name. Whoever wrote the context chose it, so it has to be in there: a link out of
// the context would show this machine's files to them, in errors and in images.
func defaultDockerfile(dir string) (name string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", fmt.Errorf("the context: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	var tried []string
	for _, name := range defaultNames {
		path := filepath.Join(dir, name)
		st, err := root.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			tried = append(tried, path)
			continue
		case err != nil:
			if at, lerr := root.Readlink(name); lerr == nil {
				return "", fmt.Errorf("the Dockerfile %q is a link to %q, which is not a path within the context: name the file with -f, if that is what you want", path, at)
			}
			return "", fmt.Errorf("the Dockerfile: %w", err)
		case st.IsDir():
			return "", fmt.Errorf("the Dockerfile %q is a directory", path)
		case !st.Mode().IsRegular():
			return "", fmt.Errorf("the Dockerfile %q is not a regular file", path)
		}
		return name, nil
	}
	return "", fmt.Errorf("there is no Dockerfile: none of %s exists (name one with -f)", strings.Join(tried, ", "))
}
