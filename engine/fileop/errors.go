package fileop

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
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

// notFound says that a path is not in the tree it is taken from.
func notFound(p string) error {
	return &pathError{text: "\"" + p + "\": not found in the tree it is taken from", err: fs.ErrNotExist}
}
