package solver

import (
	"fmt"

	"github.com/opencontainers/go-digest"
)

// ReasonKind is the closed set of reasons why an edge was run.
type ReasonKind string

// The kinds, and which fields of Reason each uses beside those that all have. Where a kind
// says of the input that it differs, the definition key or the content key is Old and New.
const (
	// ReasonFirst: no earlier trace has an operation of this digest or this name, or one
	// that stands in its place.
	ReasonFirst ReasonKind = "first"
	// ReasonOp: the digest of the operation itself, its CacheMap.Digest, was Old and is New.
	ReasonOp ReasonKind = "operation"
	// ReasonInputs: it had Old inputs, and has New.
	ReasonInputs ReasonKind = "number of inputs"
	// ReasonReplaced: its input was the vertex of the name Old, and is the one of the name
	// New, which has, or had, another place.
	ReasonReplaced ReasonKind = "other input"
	// ReasonInput: what Input is defined by differs.
	ReasonInput ReasonKind = "input"
	// ReasonSelector: the part of Input that it uses was Old and is New.
	ReasonSelector ReasonKind = "selector"
	// ReasonContent: the content of Input differs.
	ReasonContent ReasonKind = "content"
	// ReasonNotReproduced: the content of Input differs, though it is defined as it was.
	ReasonNotReproduced ReasonKind = "not reproduced"
	// ReasonAfresh: Input is defined as it was, but was made without its cache, or stands on
	// what was, and it is not known by its content.
	ReasonAfresh ReasonKind = "input made afresh"
	// ReasonIgnored: its cache is ignored.
	ReasonIgnored ReasonKind = "cache ignored"
	// ReasonLoadFailed: Caches had a record that could not be loaded.
	ReasonLoadFailed ReasonKind = "load failed"
	// ReasonLost: its result was lost while something needed it.
	ReasonLost ReasonKind = "lost"
	// ReasonGone: nothing differs, an earlier job had a result of it, and Caches, which were
	// asked, have none.
	ReasonGone ReasonKind = "gone"
	// ReasonFailedBefore: nothing differs, and it failed in the earlier job.
	ReasonFailedBefore ReasonKind = "failed before"
	// ReasonNotNeededBefore: nothing differs, and the earlier job did not need its result.
	ReasonNotNeededBefore ReasonKind = "not needed before"
	// ReasonUnknown: Missing says what is not known.
	ReasonUnknown ReasonKind = "unknown"
)

// Reason says why no cache had the result of an edge: the first thing that differs from
// the nearest earlier trace of the same operation.
type Reason struct {
	Kind   ReasonKind
	Vertex digest.Digest
	Name   string
	Output Index
	// Earlier is the number of the trace that the edge is compared with, -1 for none. WasVertex
	// and WasName are the vertex in it.
	Earlier   int
	WasVertex digest.Digest
	WasName   string

	Input     Index
	InputName string
	Old, New  string
	Caches    []string
	// Missing says what is not known: of ReasonInput, why the contents of the input were
	// not compared. It may be the same: "" says that it counts by its definition alone.
	Missing string
	// Because says how the input differs; nil if that is not known, or is no difference of
	// the input's.
	Because *Reason
	root    *Reason
}

// Root is the reason at the end of Because: what differs first of all that is below.
func (r *Reason) Root() *Reason {
	if r.root == nil {
		return r
	}
	return r.root
}

// String is the reason in words, with its root.
func (r *Reason) String() string {
	text := r.label() + ": " + r.words()
	if root := r.Root(); root != r {
		text += ", because of " + root.String()
	}
	return text
}

func (r *Reason) label() string {
	t := EdgeTrace{Name: r.Name, Output: r.Output}
	return t.label()
}

func (r *Reason) words() string {
	switch r.Kind {
	case ReasonFirst:
		return "no earlier job had it"
	case ReasonOp:
		if r.WasName != r.Name {
			return fmt.Sprintf("what it does differs from %q, which was in its place", r.WasName)
		}
		return "what it does differs"
	case ReasonInputs:
		return fmt.Sprintf("it has %s inputs, and had %s", r.New, r.Old)
	case ReasonReplaced:
		return fmt.Sprintf("its input %d is %q, and was %q", r.Input, r.New, r.Old)
	case ReasonInput:
		if r.Missing != "" {
			return fmt.Sprintf("its input %q is defined otherwise, and %s", r.InputName, r.Missing)
		}
		return fmt.Sprintf("its input %q differs", r.InputName)
	case ReasonSelector:
		return fmt.Sprintf("it uses another part of its input %q", r.InputName)
	case ReasonContent:
		return fmt.Sprintf("the content of its input %q differs", r.InputName)
	case ReasonNotReproduced:
		return fmt.Sprintf("the content of its input %q differs, though that is defined as it was", r.InputName)
	case ReasonAfresh:
		text := fmt.Sprintf("its input %q was made without a cache", r.InputName)
		if r.Missing != "" {
			text += ", and " + r.Missing
		}
		return text
	case ReasonIgnored:
		return "its cache is ignored"
	case ReasonLoadFailed:
		return "its record in cache " + quoted(r.Caches) + " could not be loaded"
	case ReasonLost:
		return "the result was lost"
	case ReasonGone:
		return "an earlier job had it, and cache " + quoted(r.Caches) + " has no record of it"
	case ReasonFailedBefore:
		return "it is as in an earlier job, in which it failed"
	case ReasonNotNeededBefore:
		return "it is as in an earlier job, which did not need its result"
	}
	return "it is not known why: " + r.Missing
}
