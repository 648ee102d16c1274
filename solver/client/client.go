// Package client is what a client sees of a solve: the messages of a job's
// status stream. The fields are those of BuildKit's client package, so that a
// progress display written for one can show the other; Outcome is Tenon's own.
package client

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// SolveStatus is one message of a status stream. Later messages about the same
// vertex or status ID replace earlier ones; logs and warnings are appended.
type SolveStatus struct {
	Vertexes []*Vertex
	Statuses []*VertexStatus
	Logs     []*VertexLog
	Warnings []*VertexWarning
}

// Vertex is the state of one vertex as one job sees it.
type Vertex struct {
	Digest digest.Digest   `json:"digest,omitempty"`
	Inputs []digest.Digest `json:"inputs,omitempty"`
	Name   string          `json:"name,omitempty"`
	// Started is nil until something was run or loaded for the vertex.
	Started *time.Time `json:"started,omitempty"`
	// Completed is nil until the vertex has ended.
	Completed *time.Time `json:"completed,omitempty"`
	// Cached says that the result was loaded from a cache. A vertex that did not
	// run because nothing needed it is not cached.
	Cached bool   `json:"cached,omitempty"`
	Error  string `json:"error,omitempty"`
	// ProgressGroup lets a display fold several vertices into one line.
	ProgressGroup *ProgressGroup `json:"progressGroup,omitempty"`
	// Outcome is how the vertex ended; empty while it has not.
	Outcome Outcome `json:"outcome,omitempty"`
}

// Outcome is the one way in which a vertex of a job ended.
type Outcome string

const (
	// Executed: the op was run for this job.
	Executed Outcome = "executed"
	// Cached: the result was loaded from a cache, for this job or before for another
	// one: it was run for neither.
	Cached Outcome = "cached"
	// Shared: another build ran it, and this job used the result.
	Shared Outcome = "shared"
	// NotNeeded: no result of the vertex was wanted.
	NotNeeded Outcome = "not needed"
	// Failed: the op returned an error, or could not say how it is cached.
	Failed Outcome = "failed"
	// Canceled: a result was wanted, and there is none: the job left before, or
	// something below it failed.
	Canceled Outcome = "canceled"
)

// VertexStatus is the progress of one named part of a vertex, such as a layer
// being downloaded.
type VertexStatus struct {
	ID        string
	Vertex    digest.Digest
	Name      string
	Total     int64
	Current   int64
	Timestamp time.Time
	Started   *time.Time
	Completed *time.Time
}

// VertexLog is a chunk of a vertex's output. Stream is the file descriptor it
// was written to, 1 or 2.
type VertexLog struct {
	Vertex    digest.Digest
	Stream    int
	Data      []byte
	Timestamp time.Time
}

// VertexWarning is a warning about a vertex. Level is 1 for what a user should
// act on; larger is less important.
type VertexWarning struct {
	Vertex digest.Digest
	Level  int
	Short  []byte
	Detail [][]byte
	URL    string
	// SourceInfo and Range point into the definition, for a frontend to fill in.
	SourceInfo *SourceInfo
	Range      []*Range
}

// ProgressGroup names a set of vertices that belong together in a display.
type ProgressGroup struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	Weak bool   `json:"weak,omitempty"`
}

// SourceInfo is the file a warning is about.
type SourceInfo struct {
	Filename string
	Data     []byte
	Language string
}

// Range is a half-open part of a source file, in lines and characters from 0.
type Range struct {
	Start, End Position
}

// Position is a place in a source file.
type Position struct {
	Line, Character int32
}
