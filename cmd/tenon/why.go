package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/history"
	"github.com/tenonbuild/tenon/engine/why"
	"github.com/tenonbuild/tenon/solver/client"
)

// With so many builds of its project a build is compared, among so many that are looked at.
const (
	comparedBuilds = 20
	lookedBuilds   = 2000
)

func (c *cli) whyCommand() *cobra.Command {
	asJSON, diff := false, false
	cmd := &cobra.Command{
		Use:   "why [flags] [BUILD] [STEP]",
		Short: "Say why steps of a build ran",
		Long: `Say why steps of a build ran: which file, argument or image differs from what
earlier builds had. Without a build it is the last one. Without a step it is what made
steps run, each cause once, with the steps that followed from it.

A build is named by the beginning of its ID, or by a number: 1 is the last one, 2 the one
before. A step is named by a part of its name, or by the line of its instruction.`,
		Example: `  tenon why
  tenon why 'RUN make'
  tenon why --diff
  tenon why 2
  tenon why 2 14`,
		Args: arguments(0, 2, "a build and a step"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !diff {
				return c.why(cmd.Context(), args, asJSON, nil)
			}
			return c.diffing(cmd.Context(), func(d *differ) error { return c.why(cmd.Context(), args, false, d) })
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON (docs/history.md)")
	cmd.Flags().BoolVar(&diff, "diff", false, "show what changed in texts, as far as the cache still has what they were")
	cmd.MarkFlagsMutuallyExclusive("json", "diff")
	return cmd
}

// past is the history of the root.
func (c *cli) past() (history.Reader, error) {
	if c.daemonAddr() != "" {
		return history.Reader{}, errors.New("the history of a daemon that is named by --addr or TENON_HOST is on its machine: run the command there, with --root")
	}
	cfg, err := c.configure()
	if err != nil {
		return history.Reader{}, err
	}
	return history.In(engine.History(cfg.Root)), nil
}

func (c *cli) why(ctx context.Context, args []string, asJSON bool, d *differ) error {
	past, err := c.past()
	if err != nil {
		return err
	}
	build, step, err := whatAbout(ctx, past, args)
	if err != nil {
		return err
	}
	earlier, err := past.Earlier(ctx, build, comparedBuilds, lookedBuilds)
	if err != nil {
		return err
	}
	x := past.Explainer(ctx, build, earlier)
	if step == "" && asJSON {
		return printJSON(c.out, x.Report())
	}
	if step == "" {
		return c.whyBuild(x.Report(), build, len(earlier) == 0, d)
	}
	s, err := findStep(build, step)
	if err != nil {
		return err
	}
	if s == nil {
		return noSuch(ctx, past, build, step, len(args) == 1)
	}
	if asJSON {
		return printJSON(c.out, struct {
			*why.Explanation
			Outcome client.Outcome `json:"outcome"`
			Cached  *why.Hit       `json:"cached,omitempty"`
			Asked   []string       `json:"asked,omitempty"`
		}{x.Explain(s), s.Outcome, s.Cached, s.Asked})
	}
	return c.whyStep(x, s, d)
}

// whatAbout finds the build and the step that arguments name. One argument is a build if it
// names one, and else a step of the last build.
func whatAbout(ctx context.Context, past history.Reader, args []string) (b *why.Build, step string, err error) {
	build := "1"
	if len(args) > 0 {
		build = args[0]
	}
	if len(args) > 1 {
		step = args[1]
	}
	rec, err := past.Find(ctx, build)
	var unknown *history.NotFoundError
	if errors.As(err, &unknown) && len(args) == 1 {
		step = args[0]
		if rec, err = past.Find(ctx, "1"); err != nil {
			return nil, "", err
		}
	}
	if err != nil {
		return nil, "", err
	}
	b, err = accountOf(past, rec)
	if err != nil {
		return nil, "", err
	}
	return b, step, nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (c *cli) whyBuild(r *why.Report, b *why.Build, alone bool, d *differ) error {
	w := c.text()
	fmt.Fprintf(w, "Build %s, %s: %s\n", shortRef(b.Ref), strings.ToLower(since(b.Ended)), counts(r.Counts))
	if b.Error != "" {
		fmt.Fprintf(w, "It failed: %s\n", oneLine(b.Error, 200))
	}
	if len(r.Compared) > 0 {
		fmt.Fprintf(w, "Compared with %s\n", strings.Join(shortRefs(r.Compared), ", "))
	}
	if alone {
		fmt.Fprintf(w, "No earlier build of %s is kept: those of another context or Dockerfile are not compared\n", projectName(b.Project))
	}
	for _, cache := range r.Caches {
		if cache.Error != "" {
			fmt.Fprintf(w, "Cache %s was not read: %s\n", cache.Name, oneLine(cache.Error, 200))
		}
	}
	switch {
	case len(r.Causes) > 0:
	case b.Error != "":
		fmt.Fprintln(w, "No step had run by then.")
	default:
		fmt.Fprintln(w, "No step ran.")
	}
	for i := range r.Causes {
		g := &r.Causes[i]
		fmt.Fprintln(w)
		printCause(w, &g.Cause)
		d.show(w, &g.Cause)
		room := c.roomOfName()
		printRan(w, room, "ran", g.Steps)
		printRan(w, room, "then", g.Followed)
	}
	return nil
}

func printCause(w io.Writer, cause *why.Cause) {
	fmt.Fprintln(w, cause.String())
	if len(cause.Files) < 2 && cause.More == 0 {
		return
	}
	few := cause.Files[:min(len(cause.Files), 20)]
	for _, f := range few {
		fmt.Fprintf(w, "    %s\n", f)
	}
	if more := cause.More + len(cause.Files) - len(few); more > 0 {
		fmt.Fprintf(w, "    and %d more\n", more)
	}
}

// roomOfName is how long the name of a step may be: what a terminal has left in its line.
func (c *cli) roomOfName() int {
	width := terminalWidth(c.out)
	if width == 0 {
		return 100
	}
	return max(width-len("  then   (1000.0s)"), 20)
}

func printRan(w io.Writer, room int, word string, steps []why.Ran) {
	for i, s := range steps {
		if i == 20 {
			fmt.Fprintf(w, "  %-4s  and %d more\n", "", len(steps)-i)
			return
		}
		fmt.Fprintf(w, "  %-4s  %s (%s)\n", word, oneLine(s.Name, room), why.Seconds(s.Took))
		word = ""
	}
}

func (c *cli) whyStep(x *why.Explainer, s *why.Step, d *differ) error {
	e := x.Explain(s)
	w := c.text()
	fmt.Fprintln(w, oneLine(s.Name, 200))
	if s.Place.Line > 0 {
		fmt.Fprintf(w, "%s:%d\n", s.Place.File, s.Place.Line)
	}
	fmt.Fprintln(w, oneLine(x.Ending(s), 500))
	if !s.Ran() {
		return nil
	}
	if e.Baseline != "" {
		fmt.Fprintf(w, "Compared with build %s\n", shortRef(e.Baseline))
	}
	fmt.Fprintln(w)
	for i := range e.Causes {
		printCause(w, &e.Causes[i])
		d.show(w, &e.Causes[i])
	}
	followed := false
	for i := range e.Roots {
		if r := &e.Roots[i]; r.Step != s.Digest {
			if !followed {
				fmt.Fprintln(w, "\nIt began with:")
			}
			followed = true
			fmt.Fprintf(w, "%s: ", oneLine(x.Name(r.Step), 100))
			printCause(w, &r.Cause)
			d.show(w, &r.Cause)
		}
	}
	return nil
}

// findStep finds the step that a text names: a part of its name, its digest, or its line. It is
// nil if there is none.
func findStep(b *why.Build, text string) (*why.Step, error) {
	var found []*why.Step
	for i := range b.Steps {
		if s := &b.Steps[i]; named(s, text) {
			found = append(found, s)
		}
	}
	exact := slices.DeleteFunc(slices.Clone(found), func(s *why.Step) bool { return s.Place.Instruction != text })
	if len(exact) == 1 {
		found = exact
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	names := make([]string, 0, len(found))
	for _, s := range found[:min(len(found), 5)] {
		names = append(names, fmt.Sprintf("%q", oneLine(s.Name, 80)))
	}
	return nil, fmt.Errorf("%q names %d steps: %s", text, len(found), strings.Join(names, ", "))
}

func named(s *why.Step, text string) bool {
	if n, err := strconv.Atoi(text); err == nil {
		return s.Place.Line == n && why.IsStep(s)
	}
	return strings.Contains(s.Name, text) || s.Digest == digest.Digest(text) || len(text) >= 6 && strings.HasPrefix(s.Digest.Encoded(), text)
}

func counts(n map[client.Outcome]int) string {
	var parts []string
	for _, o := range []client.Outcome{client.Executed, client.Cached, client.Shared, client.NotNeeded, client.Failed, client.Canceled} {
		if n[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[o], o))
		}
	}
	if len(parts) == 0 {
		return "no step"
	}
	return strings.Join(parts, ", ")
}

func shortRef(ref string) string { return ref[:min(len(ref), 12)] }

func shortRefs(refs []string) []string {
	out := make([]string, len(refs))
	for i, r := range refs {
		out[i] = shortRef(r)
	}
	return out
}
