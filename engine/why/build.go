package why

import (
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/solver/client"
)

// Version is that of the JSON form of a Build.
const Version = 1

// Build is what is kept of a build.
type Build struct {
	Version int    `json:"version"`
	Ref     string `json:"ref"`
	// Project names what is built: builds of one project are compared.
	Project string    `json:"project"`
	Begun   time.Time `json:"begun"`
	Ended   time.Time `json:"ended"`
	// Command is the command line, if a command has built.
	Command []string `json:"command,omitempty"`
	// Attrs are the attributes of the frontend, those with credentials left out.
	Attrs map[string]string `json:"attrs,omitempty"`
	// Revision is the commit that the context is at, Dirty whether files differ from it.
	Revision string `json:"revision,omitempty"`
	Dirty    bool   `json:"dirty,omitempty"`
	// Error is what the build failed with.
	Error string `json:"error,omitempty"`
	// Steps are in an order in which inputs come before what uses them.
	Steps []Step `json:"steps"`
	// Omitted is how many steps are not kept, because there were too many.
	Omitted int `json:"omitted,omitempty"`
	// Caches are those of others that were asked.
	Caches []Cache `json:"caches,omitempty"`
}

// Cache is a cache that a build has asked beside its own.
type Cache struct {
	Name string `json:"name"`
	// Error says why it was not read.
	Error string `json:"error,omitempty"`
}

// Step is a vertex of a build.
type Step struct {
	Digest  digest.Digest  `json:"digest"`
	Name    string         `json:"name"`
	Place   Place          `json:"place,omitzero"`
	Kind    OpKind         `json:"kind"`
	Facts   []Fact         `json:"facts,omitempty"`
	Inputs  []Input        `json:"inputs,omitempty"`
	Outcome client.Outcome `json:"outcome,omitempty"`
	Error   string         `json:"error,omitempty"`
	// Started and Ended are zero for a step that was neither run nor loaded.
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Log     int64     `json:"log,omitempty"` // bytes of output

	// Keys are those that caches know the result by: by what it is defined by first.
	Keys []string `json:"keys,omitempty"`
	// Ops are the digests of what the step does, by which caches know it; none if nobody
	// asked for it.
	Ops []digest.Digest `json:"ops,omitempty"`
	// Cached says where the result was found.
	Cached *Hit `json:"cached,omitempty"`
	// NoCache: caches were not asked. Inherits: they were not, because they were not for a
	// step below.
	NoCache  bool `json:"noCache,omitempty"`
	Inherits bool `json:"inherits,omitempty"`
	// Asked are the caches that were asked and had nothing for the step.
	Asked []string `json:"asked,omitempty"`
	// Unloadable are the caches that had a record which could not be loaded.
	Unloadable []string `json:"unloadable,omitempty"`
	// Refused: it did not run, because the request does not let it (engine.Request.MayRun), or
	// one that it needs.
	Refused bool `json:"refused,omitempty"`
	// Lost: the result was there, was lost, and was made again.
	Lost bool `json:"lost,omitempty"`
}

// Took is how long the step ran, or was loaded.
func (s *Step) Took() time.Duration {
	if s.Started.IsZero() || s.Ended.Before(s.Started) {
		return 0
	}
	return s.Ended.Sub(s.Started)
}

// Ran says whether the op was run for the build.
func (s *Step) Ran() bool { return s.Outcome == client.Executed || s.Outcome == client.Failed }

// Hit is how the result of a step was found in a cache.
type Hit struct {
	Caches []string `json:"caches"`
	// Content is the input by whose content it was found; nil if all inputs were known by
	// what they are defined by.
	Content *int `json:"content,omitempty"`
}

// Place is where a step stands in a Dockerfile, as its frontend says.
type Place struct {
	Stage    string `json:"stage,omitempty"`
	Platform string `json:"platform,omitempty"`
	// Instruction is the text, on one line.
	Instruction string `json:"instruction,omitempty"`
	File        string `json:"file,omitempty"`
	Line        int    `json:"line,omitempty"` // from 1
}

// Input is what a step takes from another.
type Input struct {
	Step   digest.Digest `json:"step"`
	Output int           `json:"output,omitempty"`
	// Keys are those that the solver knew the input by: by its definition first.
	Keys []string `json:"keys,omitempty"`
	// Content is the digest of what is used of the input; "" if it was not computed.
	Content string `json:"content,omitempty"`
	// Selector names what is used of the input, where Keys are of all of it.
	Selector digest.Digest `json:"selector,omitempty"`
	// Parts are what is used of it; none for all of it.
	Parts []Part `json:"parts,omitempty"`
}

// Part is a part of a tree that a step uses.
type Part struct {
	Path     string   `json:"path"`
	Wildcard bool     `json:"wildcard,omitempty"`
	Include  []string `json:"include,omitempty"`
	Exclude  []string `json:"exclude,omitempty"`
}

// OpKind is the closed set of what steps do.
type OpKind string

// The kinds.
const (
	OpSource      OpKind = "source"
	OpExec        OpKind = "exec"
	OpFile        OpKind = "file"
	OpMerge       OpKind = "merge"
	OpDiff        OpKind = "diff"
	OpBuild       OpKind = "build"
	OpPassthrough OpKind = "passthrough"
	OpOther       OpKind = "other" // of a program that embeds the engine
)

// Fact is one thing that a step is told.
type Fact struct {
	Kind  FactKind `json:"kind"`
	Name  string   `json:"name,omitempty"` // of a variable, a mount, an attribute
	Value string   `json:"value"`
}

// FactKind is the closed set of kinds of facts.
type FactKind string

// The kinds.
const (
	FactCommand  FactKind = "command"
	FactEnv      FactKind = "env"
	FactUser     FactKind = "user"
	FactDir      FactKind = "directory"
	FactMount    FactKind = "mount" // Name is where
	FactNetwork  FactKind = "network"
	FactSecurity FactKind = "security"
	FactPlatform FactKind = "platform"
	FactHost     FactKind = "host"
	FactLimit    FactKind = "limit"
	FactDevice   FactKind = "device"
	FactAction   FactKind = "action" // of a file step; Name is its number
	FactSource   FactKind = "source" // the identifier
	FactDigest   FactKind = "digest" // what the source stood for
	FactAttr     FactKind = "attribute"
)

// fact returns the value of a fact.
func (s *Step) fact(kind FactKind, name string) (string, bool) {
	for i := range s.Facts {
		if f := &s.Facts[i]; f.Kind == kind && f.Name == name {
			return f.Value, true
		}
	}
	return "", false
}
