package logstore

import (
	"errors"
	"fmt"

	"github.com/tenonbuild/tenon/solver/internal/keygraph"
)

// What can be wrong with a file or a store. Errors of this package match these with
// errors.Is.
var (
	// ErrInUse says that the file is open already, here or in another process.
	ErrInUse = errors.New("file is in use")
	// ErrForeign says that the file was made by another program.
	ErrForeign = errors.New("file belongs to another program")
	// ErrVersion says that the file has a format that this version cannot read.
	ErrVersion = errors.New("unknown format version")
	// ErrCorrupt says that the file is damaged.
	ErrCorrupt = errors.New("file is damaged")
	// ErrFull says that a write was refused, since too many wait for the disk.
	ErrFull = keygraph.ErrBehind
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
	// Torn says that only the end of the file is missing, as a power cut leaves a file that
	// is being written.
	Torn bool
}

func (e *FileError) Error() string {
	return fmt.Sprintf("logstore: %s: %v: %s; %s", e.Path, e.Kind, e.Detail, e.Hint)
}

// Unwrap returns Kind.
func (e *FileError) Unwrap() error { return e.Kind }
