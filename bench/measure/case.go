// Package measure runs solvers on the same graphs, in turns, and tells how long
// each took: the same work, in one process, a few moments apart. What counts is
// the ratio between solvers; the figures themselves are the machine's.
package measure

import (
	"fmt"

	"github.com/tenonbuild/tenon/bench/graph"
)

// Storage is where a solver keeps its cache.
type Storage string

// The storages.
const (
	Mem  Storage = "mem"
	Bolt Storage = "bolt"
)

// Phase is one thing that is timed.
type Phase string

// The phases. A Build includes loading the graph; every Build but those of
// several jobs has a new solver.
const (
	// Cold builds on an empty store.
	Cold Phase = "cold"
	// Discard ends the job of the cold build.
	Discard Phase = "discard"
	// Warm builds the same again on the same store: it runs nothing.
	Warm Phase = "warm"
	// Leaf builds with one leaf's operation changed: it runs what is above.
	Leaf Phase = "leaf"
	// Content is Cold with content keys on every edge.
	Content Phase = "content"
	// ContentLeaf is Leaf with content keys on every edge. The changed leaf's
	// result has the content it had, so it runs the leaf and nothing else.
	ContentLeaf Phase = "content-leaf"
	// Status is Cold with a subscriber that reads the job's progress.
	Status Phase = "status"
	// ExportMax and ExportMin export the cache of a cold build.
	ExportMax Phase = "export-max"
	ExportMin Phase = "export-min"
	// Same is many jobs that build one graph at the same time.
	Same Phase = "jobs100-same"
	// Disjoint is many jobs that build graphs of their own at the same time.
	Disjoint Phase = "jobs100-disjoint"
	// Equal is two jobs that build at the same time what has equal keys under
	// different digests.
	Equal Phase = "jobs2-equal"
	// Beside discards a job while another, a hundred times as large, stays.
	Beside Phase = "discard-beside"
	// Flush waits for the disk after a cold build.
	Flush Phase = "flush"
	// Reopen opens a store on disk that a cold build filled, and WarmReopened
	// builds the same again on it.
	Reopen       Phase = "reopen"
	WarmReopened Phase = "warm-reopened"
)

// Jobs is how many jobs Same and Disjoint have.
const Jobs = 100

// besideFactor is how much larger the other job is in Beside.
const besideFactor = 100

// Kind is a sequence of phases that are timed in one trial, because the later
// ones need what the earlier ones built.
type Kind string

// The kinds of trials.
const (
	Plain       Kind = "plain"
	WithContent Kind = "content"
	Watched     Kind = "watched"
	Export      Kind = "export"
	SameJobs    Kind = "same"
	DisjointJob Kind = "disjoint"
	EqualKeys   Kind = "equal"
	DiscardJob  Kind = "beside"
)

// phasesOf says which phases a kind of trial times, in order.
var phasesOf = map[Kind][]Phase{
	Plain:       {Cold, Flush, Discard, Warm, Leaf, Reopen, WarmReopened},
	WithContent: {Content, ContentLeaf},
	Watched:     {Status},
	Export:      {ExportMax, ExportMin},
	SameJobs:    {Same},
	DisjointJob: {Disjoint},
	EqualKeys:   {Equal},
	DiscardJob:  {Beside},
}

// Phases lists all phases.
func Phases() []Phase {
	var all []Phase
	for _, k := range []Kind{Plain, WithContent, Watched, Export, SameJobs, DisjointJob, EqualKeys, DiscardJob} {
		all = append(all, phasesOf[k]...)
	}
	return all
}

// KindOf is the kind of trial that times a phase.
func KindOf(p Phase) (Kind, error) {
	for k, phases := range phasesOf {
		for _, q := range phases {
			if p == q {
				return k, nil
			}
		}
	}
	return "", fmt.Errorf("no phase %q; there are %v", p, Phases())
}

// Case is a graph, where its cache is kept, and what is done with it.
type Case struct {
	Kind    Kind
	Shape   graph.Shape
	N       int
	Storage Storage
	// Until is the last phase that is wanted; empty for all.
	Until Phase
	// PeerTrials is how many trials of the peer there are: None, or 0 for as many
	// as of the others.
	PeerTrials int
	// PeerUntil is the last phase that the peer is asked for; empty for Until.
	PeerUntil Phase
}

// None is a number of trials.
const None = -1

func (c Case) String() string {
	return fmt.Sprintf("%s %s %d %s", c.Kind, c.Shape, c.N, c.Storage)
}

// wants reports whether phase p is to be timed.
func (c Case) wants(p Phase) bool {
	if c.Storage == Mem && (p == Flush || p == Reopen || p == WarmReopened) {
		return false
	}
	for _, q := range phasesOf[c.Kind] {
		if p == q {
			return true
		}
		if q == c.Until {
			return false
		}
	}
	return false
}
