// Package verify keeps, for builds that run their steps twice, what the second runs have
// left other than the first, and compares the trees of both.
//
// What is compared is what a step's output is known by: names, types, modes, owners, link
// targets, devices, extended attributes and bytes. Times of files are no part of it.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/tenonbuild/tenon/engine/filediff"
	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/engine/treediff"
)

// Key is under what a job keeps a *Steps (Job.SetValue) that has its steps run twice.
const Key = "tenon.verify"

// Builds returns the Steps of the jobs that an op works for, by the context of its run.
type Builds func(ctx context.Context) []*Steps

// Steps are those of one build that ran twice.
type Steps struct {
	mu  sync.Mutex // guards all
	all []Step
}

// Add adds a step, in the place of what it said before: one whose result was lost runs again.
func (s *Steps) Add(step Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = slices.DeleteFunc(s.all, func(old Step) bool { return old.Digest == step.Digest })
	s.all = append(s.all, step)
}

// All returns the steps, in the order in which they ended.
func (s *Steps) All() []Step {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// Step is one that ran twice.
type Step struct {
	Digest digest.Digest `json:"digest"` // of the vertex
	Name   string        `json:"name"`
	// Failed says why the second run failed; "" if it did not.
	Failed string `json:"failed,omitempty"`
	// Unknown says why the trees could not be compared; "" if they could.
	Unknown string `json:"unknown,omitempty"`
	// Trees are those that came out differently.
	Trees []Tree `json:"trees,omitempty"`
}

// Same says whether both runs came to the same.
func (s Step) Same() bool { return s.Failed == "" && s.Unknown == "" && len(s.Trees) == 0 }

// Tree is an output of a step. Paths are those in it, below Mount.
type Tree struct {
	Mount   string   `json:"mount"` // where the step had it: "/" is the root file system
	Changes []Change `json:"changes"`
	LeftOut int      `json:"left_out,omitempty"`
}

// Change is what differs at a path, the old being the first run's; of a file's bytes also
// where.
type Change struct {
	treediff.Change
	Where *filediff.Diff `json:"where,omitempty"`
}

const (
	maxChanges = 200 // of a tree that are told
	maxLooked  = 20  // files of a tree in which differences are looked for
	// maxUnpacked is how many bytes of archives in a tree are read.
	maxUnpacked = 4 << 30
)

// Compare says how two trees differ; no Changes are no difference. NoText keeps what is in
// files out of what is said. The trees are borrowed.
func Compare(ctx context.Context, mount string, first, second store.Tree, noText bool) (_ Tree, err error) {
	t := Tree{Mount: mount}
	before, unmount, err := store.MountLocal(ctx, first, true)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, unmount()) }()
	after, unmountAfter, err := store.MountLocal(ctx, second, true)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, unmountAfter()) }()
	ownFirst, ownSecond, err := store.Apart(ctx, first, second)
	if err != nil {
		return t, err
	}
	old, new := treediff.Overlay(before, ownFirst, false), treediff.Overlay(after, ownSecond, false)
	d, err := treediff.Compare(ctx, old, new, treediff.Options{Limit: maxChanges, Renames: true})
	if err != nil {
		return t, err
	}
	t.LeftOut = d.LeftOut
	looked, opt := 0, filediff.Options{NoText: noText, Budget: filediff.NewBudget(maxUnpacked)}
	for _, c := range d.Changes {
		one := Change{Change: c}
		if c.Kind == treediff.Content && looked < maxLooked {
			looked++
			if one.Where, err = inside(ctx, c, opt); err != nil {
				return t, fmt.Errorf("%s: %w", progress.VisibleLine(c.Path), err)
			}
		}
		t.Changes = append(t.Changes, one)
	}
	return t, nil
}

// inside looks where the bytes of a file differ.
func inside(ctx context.Context, c treediff.Change, opt filediff.Options) (*filediff.Diff, error) {
	file := func(t treediff.Tree) filediff.File {
		return filediff.File{Open: func() (io.ReadCloser, error) { return t.(treediff.Opener).Open(ctx) }}
	}
	return filediff.Compare(ctx, file(c.OldTree), file(c.NewTree), opt)
}

// Lines say for people, fit for a terminal, what came out differently.
func (s Step) Lines() (all []string) {
	switch {
	case s.Failed != "":
		return []string{"its second run failed: " + progress.VisibleLine(s.Failed)}
	case s.Unknown != "":
		return []string{"what both runs left could not be compared: " + progress.VisibleLine(s.Unknown)}
	}
	for _, t := range s.Trees {
		if t.Mount != "/" {
			all = append(all, "in "+progress.VisibleLine(t.Mount)+":")
		}
		for _, c := range t.Changes {
			all = append(all, c.lines()...)
		}
		if t.LeftOut > 0 {
			all = append(all, fmt.Sprintf("and %s more", progress.Grouped(int64(t.LeftOut))))
		}
	}
	return all
}

// indent is as wide as the word before a path.
const indent = "          "

func (c Change) lines() []string {
	all := []string{c.String()}
	if c.Where == nil {
		return all
	}
	for _, f := range c.Where.Findings {
		for line := range strings.SplitSeq(f.String(), "\n") {
			all = append(all, indent+line)
		}
	}
	if c.Where.LeftOut > 0 {
		all = append(all, fmt.Sprintf("%sand %s more", indent, progress.Grouped(int64(c.Where.LeftOut))))
	}
	if c.Where.Incomplete != "" {
		all = append(all, indent+c.Where.Incomplete)
	}
	return all
}
