package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/contenthash"
	"github.com/tenonbuild/tenon/engine/filetrees"
	"github.com/tenonbuild/tenon/engine/plan"
	"github.com/tenonbuild/tenon/engine/treediff"
	"github.com/tenonbuild/tenon/engine/why"
)

// exitRuns is the exit code of a plan by which a step would run, or may.
const exitRuns = 3

func (c *cli) planCommand() *cobra.Command {
	f, asJSON := &buildFlags{}, false
	cmd := &cobra.Command{
		Use:   "plan [flags] PATH|URL|-",
		Short: "Say which steps a build would run, and why, without running any",
		Long: `Say of each step of a build whether it would run, and why. Nothing is run, pulled
or written. The arguments and flags are those of tenon build; what they say of outputs does
not matter.

  hit         a cache has it: it does not run
  miss        it runs
  unknown     that depends on what other steps write: a step that writes the same as
              before stops there
  not needed  what stands on it is in a cache

The exit code is 0 if no step would run, and 3 if one would or may.`,
		Example: `  tenon plan .
  tenon plan --target test --build-arg VERSION=1.2 .
  tenon plan --json . | jq '.steps[] | select(.verdict == "miss")'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("tenon plan needs one argument, the context, and has %d: \".\" is the current directory", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.plan(cmd.Context(), args[0], f, asJSON) },
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON (docs/plan.md)")
	f.register(cmd.Flags())
	completeValues(cmd)
	c.completeBuild(cmd, f)
	return cmd
}

func (c *cli) plan(ctx context.Context, where string, f *buildFlags, asJSON bool) (err error) {
	if err := f.validate(); err != nil {
		return err
	}
	if err := c.checkEnv(f); err != nil {
		return err
	}
	if f.call != "build" {
		return fmt.Errorf("tenon plan and --call=%s: nothing would run for the latter", f.call)
	}
	if c.daemonAddr() != "" {
		return errNoPlan
	}
	f.cacheTo = nil
	req, _, done, err := c.request(ctx, where, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	var p *plan.Plan
	err = c.work(ctx, func(w worker) error {
		if w.daemon != nil {
			return errNoPlan
		}
		planned, err := w.engine.Plan(ctx, req)
		if err != nil {
			return err
		}
		p, err = c.explained(ctx, planned, &why.Build{Project: projectOf(where, req.FrontendAttrs), Command: append([]string{"tenon"}, c.args...), Attrs: req.FrontendAttrs})
		return err
	})
	if err != nil {
		return err
	}
	if asJSON {
		err = printJSON(c.out, p)
	} else {
		printPlan(c.text(), p)
	}
	if err == nil && !p.Cached() {
		err = exitError(exitRuns)
	}
	return err
}

var errNoPlan = errors.New("a daemon cannot be asked for a plan: plan in this process, without --addr and TENON_HOST, and where a daemon has the root, while it does not run")

// explained makes a plan of what the engine has found out, with the causes that a build would
// have.
func (c *cli) explained(ctx context.Context, planned *engine.Planned, now *why.Build) (_ *plan.Plan, err error) {
	past, err := c.past()
	if err != nil {
		return nil, err
	}
	now.Begun = time.Now()
	now.Steps, now.Omitted = planned.Steps, planned.OmittedSteps
	earlier, err := past.Earlier(ctx, now, comparedBuilds, lookedBuilds)
	if err != nil {
		return nil, err
	}
	trees, err := newPlannedTrees(past.Trees(), planned.Listed)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, trees.close()) }()
	return plan.New(now, planned.Decided, past.ExplainerWith(ctx, now, earlier, trees)), nil
}

// plannedTrees has the files of earlier builds, and those that there are now.
type plannedTrees struct {
	kept *filetrees.Store
	now  *filetrees.Store
	dir  string
}

func newPlannedTrees(kept *filetrees.Store, listed map[digest.Digest]*contenthash.Node) (*plannedTrees, error) {
	dir, err := os.MkdirTemp("", "tenon-plan-")
	if err != nil {
		return nil, err
	}
	t := &plannedTrees{kept: kept, now: filetrees.In(dir), dir: dir}
	for name, root := range listed {
		if err := t.now.Put(name, root); err != nil {
			return nil, errors.Join(err, t.close())
		}
	}
	return t, nil
}

func (t *plannedTrees) close() error { return os.RemoveAll(t.dir) }

// Compare implements why.Trees.
func (t *plannedTrees) Compare(ctx context.Context, old, now digest.Digest) (*treediff.Diff, error) {
	before, err := t.kept.Tree(old)
	if err != nil {
		return nil, err
	}
	after, err := t.now.Tree(now)
	if err != nil {
		return t.kept.Compare(ctx, old, now)
	}
	return treediff.Compare(ctx, before, after, treediff.Options{Renames: true})
}

func printPlan(w io.Writer, p *plan.Plan) {
	names := map[digest.Digest]string{}
	for i := range p.Steps {
		names[p.Steps[i].Digest] = oneLine(p.Steps[i].Name, 100)
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		if !why.IsStep(&why.Step{Kind: s.Kind, Name: s.Name}) {
			continue
		}
		fmt.Fprintf(w, "%-10s  %s\n", s.Verdict, names[s.Digest])
		for _, line := range reasons(s, names) {
			fmt.Fprintf(w, "%-10s    %s\n", "", line)
		}
	}
	if p.Omitted > 0 {
		fmt.Fprintf(w, "%d steps are not told of\n", p.Omitted)
	}
	var counts []string
	for _, v := range []plan.Verdict{plan.Hit, plan.Miss, plan.Unknown, plan.NotNeeded} {
		if n := p.Counts[v]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, v))
		}
	}
	if len(counts) == 0 {
		counts = []string{"no step"}
	}
	fmt.Fprintln(w, strings.Join(counts, ", "))
}

// reasons are why a step would run, or what decides about that.
func reasons(s *plan.Step, names map[digest.Digest]string) (lines []string) {
	switch s.Verdict {
	case plan.Hit:
		if s.Cached == nil {
			return nil
		}
		if n := s.Cached.Content; n != nil && *n < len(s.Inputs) {
			lines = append(lines, names[s.Inputs[*n]]+" has the same content as before")
		}
		if from := strings.Join(s.Cached.Caches, ", "); from != "local" {
			lines = append(lines, "from "+from)
		}
	case plan.Miss:
		for i := range s.Causes {
			lines = append(lines, s.Causes[i].String())
		}
	case plan.Unknown:
		for i := range s.Causes {
			if s.Causes[i].Kind != why.StepKind {
				lines = append(lines, s.Causes[i].String())
			}
		}
		var by []string
		for _, d := range s.By {
			by = append(by, names[d])
		}
		lines = append(lines, "that depends on "+strings.Join(by, " and "))
	}
	return lines
}
