package solver

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/client"
)

// maxJournal is how many bytes of logs are kept of one vertex, and maxEntries how many
// other reports: the first half and the last half of them. What is between is counted.
const (
	maxJournal = 2 << 20
	maxEntries = 20_000
)

// entry is one report: one of its fields is set.
type entry struct {
	status  *client.VertexStatus
	log     *client.VertexLog
	warning *client.VertexWarning
	step    *client.Vertex // see Job.Begin
}

// size is what an entry counts for.
func (en entry) size() int {
	n := maxJournal / maxEntries
	switch {
	case en.log != nil:
		n += len(en.log.Data)
	case en.status != nil:
		n += len(en.status.ID) + len(en.status.Name)
	case en.warning != nil:
		n += len(en.warning.Short)
		for _, d := range en.warning.Detail {
			n += len(d)
		}
	}
	return n
}

// journal is what was reported for a vertex or a job, for those who join later, and who
// is told now. Guarded by Solver.watching.
type journal struct {
	head, tail         []entry
	from               int // tail[:from] was dropped
	headSize, tailSize int
	dropped            int              // bytes of logs between head and tail
	last               client.VertexLog // the last that was dropped, without its data
	inputs             []digest.Digest  // of the vertex
	watchers           []*watcher
}

// maxPiece is up to how many bytes a log is kept whole or not at all.
const maxPiece = maxJournal / 16

// add keeps an entry; a long log piece by piece.
func (j *journal) add(en entry) {
	if l := en.log; l != nil && len(l.Data) > maxPiece {
		for data := range slices.Chunk(l.Data, maxPiece) {
			piece := *l
			piece.Data = slices.Clone(data)
			j.add(entry{log: &piece})
		}
		return
	}
	size := en.size()
	if len(j.tail) == 0 && j.headSize+size <= maxJournal/2 {
		j.head = append(j.head, en)
		j.headSize += size
		return
	}
	j.tail = append(j.tail, en)
	j.tailSize += size
	for j.tailSize > maxJournal/2 && j.from < len(j.tail)-1 {
		old := j.tail[j.from]
		j.tail[j.from] = entry{}
		j.from++
		j.tailSize -= old.size()
		if old.log != nil {
			j.dropped += len(old.log.Data)
			j.last = client.VertexLog{Vertex: old.log.Vertex, Stream: old.log.Stream, Timestamp: old.log.Timestamp}
		}
	}
	if j.from > len(j.tail)/2 {
		j.tail = slices.Clone(j.tail[j.from:])
		j.from = 0
	}
}

// all yields what was kept, with a line of log that tells what was not.
func (j *journal) all(yield func(entry) bool) {
	if j == nil {
		return
	}
	for _, en := range j.head {
		if !yield(en) {
			return
		}
	}
	if j.dropped > 0 {
		note := j.last
		note.Data = fmt.Appendf(nil, "[%d bytes of output were not kept]\n", j.dropped)
		if !yield(entry{log: &note}) {
			return
		}
	}
	for _, en := range j.tail[j.from:] {
		if !yield(en) {
			return
		}
	}
}
