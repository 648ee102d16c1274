// Package remote is how a process asks the one that has a root: HTTP with JSON over a
// unix socket below it. What can be asked is package query's.
//
// The socket is in a directory that only the owner can look into, and who connects
// has to be the same user or root. It is there as long as the owner is: one that was
// killed leaves a socket at which nobody answers, which the next owner replaces.
//
//	GET  /v1/usage    a store.Usage
//	GET  /v1/images   a list of images.Image
//	POST /v1/save     a query.SaveRequest; the answer is the archive, and after it, as a
//	                  trailer, whether it is whole
//	POST /v1/change   a change; the answer is a changed
//	POST /v1/load     an archive of images; the answer is a changed
//
// An answer that is no 200 is a failure, as JSON. The number in the path goes up when
// older processes could not understand an answer: then they wait, as for a process
// that does not answer at all.
package remote

import (
	"github.com/containerd/errdefs"

	"github.com/tenonbuild/tenon/engine/images"
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

// change is a request for one of query.Changer's methods: that of the field which is set.
type change struct {
	Tag    *tagging             `json:",omitempty"`
	Remove *removing            `json:",omitempty"`
	Prune  *images.PruneOptions `json:",omitempty"`
	Layout string               `json:",omitempty"`
}

type tagging struct{ Ref, Name string }

type removing struct {
	Refs  []string
	Force bool
}

// changed is what a change has done, also where it has failed.
type changed struct {
	Removed []images.Removed `json:",omitempty"`
	Loaded  []images.Loaded  `json:",omitempty"`
	Failed  *failure         `json:",omitempty"`
}

func failed(err error) *failure {
	if err == nil {
		return nil
	}
	return &failure{Error: err.Error(), NotFound: errdefs.IsNotFound(err)}
}
