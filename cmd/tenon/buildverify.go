package main

import (
	"fmt"

	"github.com/tenonbuild/tenon/engine/progress"
	"github.com/tenonbuild/tenon/engine/verify"
)

// exitDiffers is the exit code of a build that went well, and of which a step came out
// differently when it ran again.
const exitDiffers = 3

// showVerified says what ran twice, and what came out differently, also of a build that has
// failed.
func (c *cli) showVerified(res *outcome, f *buildFlags, failed error) {
	if !f.verify || res == nil || res.Response == nil || f.progressMode(c.env) == progress.RawJSON {
		return
	}
	ran, differ := len(res.Verified), differing(res.Verified)
	switch {
	case ran == 0 && failed != nil:
		return
	case ran == 0:
		c.hint(f, "verify: no command ran, so there was nothing to run twice; --no-cache runs all of them")
		return
	case len(differ) == 0:
		c.hint(f, fmt.Sprintf("verify: %s ran twice and came out the same", countSteps(ran)))
		return
	}
	fmt.Fprintf(c.err, "verify: %s ran twice, and %d of them came out differently:\n", countSteps(ran), len(differ))
	for _, s := range differ {
		fmt.Fprintln(c.err, progress.VisibleLine(s.Name))
		for _, line := range s.Lines() {
			fmt.Fprintln(c.err, "  "+line)
		}
	}
}

// verified is an error if a step came out differently.
func (c *cli) verified(res *outcome) error {
	differ := differing(res.Verified)
	if len(differ) == 0 {
		return nil
	}
	fmt.Fprintf(c.err, "ERROR: %d of %s that ran twice came out differently; what was built is what the first runs left\n", len(differ), countSteps(len(res.Verified)))
	return exitError(exitDiffers)
}

func differing(all []verify.Step) (out []verify.Step) {
	for _, s := range all {
		if !s.Same() {
			out = append(out, s)
		}
	}
	return out
}

func countSteps(n int) string {
	if n == 1 {
		return "1 step"
	}
	return fmt.Sprintf("%d steps", n)
}
