// Package remote is how a process asks the one that has a root: HTTP with JSON over a
// unix socket below it. What can be asked is package query's; it changes nothing.
//
// The socket is in a directory that only the owner can look into, and who connects
// has to be the same user or root. It is there as long as the owner is: one that was
// killed leaves a socket at which nobody answers, which the next owner replaces.
//
//	GET  /v1/usage    a store.Usage
//	GET  /v1/images   a list of images.Image
//	POST /v1/save     a query.SaveRequest; the answer is the archive, and after it, as a
//	                  trailer, whether it is whole
//
// An answer that is no 200 is a failure, as JSON. The number in the path goes up when
// older processes could not understand an answer: then they wait, as for a process
// that does not answer at all.
package remote

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	socketName = "sock"
	version    = "/v1"

	// statusTrailer says how an archive has ended: whole, or with an error.
	statusTrailer = "Tenon-Status"
	whole         = "whole"
)

// failure is the body of an answer that is none.
type failure struct {
	Error    string
	NotFound bool `json:",omitempty"`
}

// socketIn returns a short path of the socket in a directory: those of sockets have 107
// bytes at most. It is good until done is called.
func socketIn(dir string) (path string, done func() error, _ error) {
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", nil, fmt.Errorf("socket: %w", err)
	}
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(f.Fd())), socketName), f.Close, nil
}
