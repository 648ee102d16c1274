package boltstore

import (
	"errors"
	"fmt"
)

// What can be wrong with a file or a store. Errors of this package match these
// with errors.Is.
var (
	// ErrInUse says that the file is open already, here or in another process.
	ErrInUse = errors.New("file is in use")
	// ErrForeign says that the file is a bolt file of another program.
	ErrForeign = errors.New("file belongs to another program")
	// ErrVersion says that the file has a format that this version cannot read.
	ErrVersion = errors.New("unknown format version")
	// ErrCorrupt says that the file is no bolt file, is cut short, or is damaged.
	ErrCorrupt = errors.New("file is damaged")
	// ErrFull says that a write was dropped, since too many wait for the disk.
	ErrFull = errors.New("too many writes wait for the disk")
	// ErrClosed is returned by a store after Close.
	ErrClosed = errors.New("store is closed")
)

// FileError is an error of one file.
type FileError struct {
	// Path is the file.
	Path string
	// Kind is one of ErrInUse, ErrForeign, ErrVersion and ErrCorrupt.
	Kind error
	// Detail is what was found.
	Detail string
	// Hint is what can be done about it.
	Hint string
}

func (e *FileError) Error() string {
	return fmt.Sprintf("boltstore: %s: %v: %s; %s", e.Path, e.Kind, e.Detail, e.Hint)
}

// Unwrap returns Kind.
func (e *FileError) Unwrap() error { return e.Kind }

const corruptHint = "nothing was changed: restore it from a copy, or move it away to start with an empty cache"

// corrupt makes the error of a damaged file.
func corrupt(path, format string, args ...any) *FileError {
	return &FileError{Path: path, Kind: ErrCorrupt, Detail: fmt.Sprintf(format, args...), Hint: corruptHint}
}
