package why

import (
	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/treediff"
)

// Kind is the closed set of kinds of causes.
type Kind string

// The kinds, and which fields of a Cause each uses beside Kind.
const (
	// First: no earlier build that is kept has the step.
	First Kind = "first"
	// Files: Name is the source, Files are those that changed, and More others.
	Files Kind = "files"
	// Arg and Env: the build argument or variable Name was Old and is New. Added and Removed
	// say that it was not there, or is no more.
	Arg Kind = "arg"
	Env Kind = "env"
	// Command: the command was Old and is New.
	Command Kind = "command"
	// Image: Name stood for the digest Old and stands for New, or another image is named.
	Image Kind = "image"
	// Source: the same for a git repository or a URL.
	Source Kind = "source"
	// Setting: Name, a mount, a platform, a user and the like, was Old and is New.
	Setting Kind = "setting"
	// InputKind: the step stood on the step Old, and stands on New.
	InputKind Kind = "input"
	// StepKind: the step Step differs, and so this one. Its own causes are with it.
	StepKind Kind = "step"
	// NoCache: caches were not asked; Name is the flag or the filter that said so.
	NoCache Kind = "no-cache"
	// Gone: an earlier run had the same inputs, and its record is in no cache that was asked.
	Gone Kind = "gone"
	// Evicted: the same, and it is known when it was removed (Old), by which command or rule
	// (Name), and how many bytes were to be freed (Needed).
	Evicted Kind = "evicted"
	// Unloadable: Caches had a record that could not be loaded.
	Unloadable Kind = "unloadable"
	// Lost: the result was there and was lost while something still needed it.
	Lost Kind = "lost"
	// FailedBefore: an earlier run had the same inputs, and failed.
	FailedBefore Kind = "failed-before"
	// NotDeterministic: the step Step had the same inputs, and what it wrote differs.
	NotDeterministic Kind = "not-deterministic"
	// Unknown: Missing says what is not known.
	Unknown Kind = "unknown"
)

// Cause is one thing that made a step run.
type Cause struct {
	Kind    Kind              `json:"kind"`
	Name    string            `json:"name,omitempty"`
	Old     string            `json:"old,omitempty"`
	New     string            `json:"new,omitempty"`
	Added   bool              `json:"added,omitempty"`
	Removed bool              `json:"removed,omitempty"`
	Files   []treediff.Change `json:"files,omitempty"`
	More    int               `json:"more,omitempty"`
	Step    digest.Digest     `json:"step,omitempty"`
	// StepName is the name of Step.
	StepName string   `json:"stepName,omitempty"`
	Caches   []string `json:"caches,omitempty"`
	Needed   int64    `json:"needed,omitempty"`
	Missing  string   `json:"missing,omitempty"`

	sources [2]*Step // of Files: as it was, and as it is
}

// Sources are, of Files, the steps that the trees of files are of: as it was, and as it is. They
// are nil of other kinds.
func (c *Cause) Sources() (old, now *Step) { return c.sources[0], c.sources[1] }

// Explanation says why a step ran.
type Explanation struct {
	Step  digest.Digest `json:"step"`
	Name  string        `json:"name"`
	Place Place         `json:"place,omitzero"`
	// Baseline is the build with which the step is compared; "" if there is none.
	Baseline string  `json:"baseline,omitempty"`
	Causes   []Cause `json:"causes"`
	// Roots are the causes that are not steps, of the step or of those that it follows.
	Roots []Root `json:"-"`
}

// Root is a cause, and the step that it is a cause of.
type Root struct {
	Cause Cause
	Step  digest.Digest
}
