package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenonbuild/tenon/engine"
	"github.com/tenonbuild/tenon/engine/images"
	"github.com/tenonbuild/tenon/engine/query"
	"github.com/tenonbuild/tenon/engine/query/remote"
	"github.com/tenonbuild/tenon/engine/store"
)

// readPoll is how often a command that only reads tries again to open the root, or to
// reach who has it.
const readPoll = 100 * time.Millisecond

// read lets use ask what there is: of the root, or of the process that has it, if that
// answers. It does not wait for a build. If nobody answers use is called again, so it
// asks before it prints.
func (c *cli) read(ctx context.Context, use func(query.Reader) error) error {
	return c.change(ctx, func(r query.Root) error { return use(r) })
}

// change is read for what changes images: use is called again only where nobody was asked.
func (c *cli) change(ctx context.Context, use func(query.Root) error) error {
	return c.either(ctx, func(e *engine.Engine) error { return use(query.Local(e.Store())) }, use)
}

// either lets own work with the root, or other ask the process that has it. Other is called
// again only where nobody was asked.
func (c *cli) either(ctx context.Context, own func(*engine.Engine) error, other func(query.Root) error) error {
	cfg, err := c.configure()
	if err != nil {
		return err
	}
	opt := cfg.engine()
	opt.NoWait = true
	opt.Notice = c.notice
	for waits := 0; ; waits++ {
		e, err := engine.Open(ctx, opt)
		if err == nil {
			return errors.Join(own(e), e.Close())
		}
		var locked *store.LockedError
		if !errors.As(err, &locked) {
			return err
		}
		if err := other(remote.Ask(engine.Questions(cfg.Root))); !errors.Is(err, remote.ErrGone) {
			return err
		}
		if c.flags.noWait {
			return locked
		}
		if waits == 10 { // it may be about to answer, or to end
			c.waiting(locked.Owner, cfg.Root)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(readPoll):
		}
	}
}

// notice says what of the root was damaged.
func (c *cli) notice(text string) { fmt.Fprintf(c.err, "tenon: %s\n", text) }

// waiting says for whom a command waits.
func (c *cli) waiting(owner, root string) {
	fmt.Fprintf(c.err, "tenon: waiting for %s, which uses %s (--no-wait fails instead)\n", owner, root)
}

// completeImages lets shells complete names of images.
func (c *cli) completeImages(cmd *cobra.Command, args []string, word string) (names []string, _ cobra.ShellCompDirective) {
	quiet := *c
	quiet.flags.noWait, quiet.err = true, io.Discard
	if !quiet.hasRoot() {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	err := quiet.read(cmd.Context(), func(r query.Reader) error {
		all, err := r.Images(cmd.Context())
		for _, img := range all {
			for _, n := range img.Names {
				names = append(names, images.Familiar(n))
			}
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// hasRoot says whether there is a folder of state: to ask what is in it makes one.
func (c *cli) hasRoot() bool {
	cfg, err := c.configure()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(cfg.Root, "version"))
	return err == nil
}
